"""The words a user may choose from, and how the panel shows them.

Names and values are the library's own words, so that a saved scene, a script and the command line
say the same. ``label`` is what Slicer's parameter node shows in a combo box.
"""

from __future__ import annotations

from enum import Enum


class SupportSource(Enum):
    """Where the marked slices come from."""

    segmentation = "segmentation"
    file = "file"

    def label(self) -> str:
        return {
            "segmentation": "Drawn on this volume",
            "file": "Saved support file",
        }[self.value]


class Preset(Enum):
    """Networks that go well together."""

    embedded = "embedded"
    fast = "fast"
    balanced = "balanced"
    best = "best"

    def label(self) -> str:
        return {
            "embedded": "Embedded (no download, any machine)",
            "fast": "Fast (a laptop)",
            "balanced": "Balanced (a GPU)",
            "best": "Best (a large GPU)",
        }[self.value]


class Method(Enum):
    """What turns marked slices into points for the network."""

    synpo = "synpo"
    fob = "fob"
    auto = "auto"

    def label(self) -> str:
        return {
            "synpo": "SynPo (needs no training)",
            "fob": "FoB (trained background points)",
            "auto": "Both together",
        }[self.value]


class Into(Enum):
    """Which segmentation takes the result."""

    new = "new"
    existing = "existing"

    def label(self) -> str:
        return {"new": "New segmentation", "existing": "Existing segmentation"}[self.value]


class Overwrite(Enum):
    """What the result may take from other segments of the segmentation it goes into."""

    never = "never"
    unlocked = "unlocked"
    all = "all"

    def label(self) -> str:
        return {
            "never": "Never: other segments keep their voxels",
            "unlocked": "Other unlocked segments",
            "all": "All other segments, locked ones as well",
        }[self.value]


class Strategy(Enum):
    """How the slices of a volume are worked through."""

    propagate = "propagate"
    slices = "slices"

    def label(self) -> str:
        return {
            "propagate": "From the marked slices outwards",
            "slices": "Each slice on its own",
        }[self.value]


class Axis(Enum):
    """The slices that were drawn on."""

    auto = "auto"
    axial = "axial"
    coronal = "coronal"
    sagittal = "sagittal"

    def label(self) -> str:
        return {"auto": "Automatic"}.get(self.value, self.value.capitalize())


class Device(Enum):
    """Where the networks compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"

    def label(self) -> str:
        return {
            "auto": "Automatic",
            "cpu": "CPU",
            "cuda": "NVIDIA GPU (CUDA)",
            "mps": "Apple GPU (MPS)",
        }[self.value]


class Precision(Enum):
    """Number format the networks compute in."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"

    def label(self) -> str:
        return {
            "auto": "Automatic",
            "fp32": "Single (fp32)",
            "bf16": "Half (bf16)",
            "fp16": "Half (fp16)",
        }[self.value]
