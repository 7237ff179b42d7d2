"""The words a user may choose from, and how the panel shows them.

Names and values are the library's own words, so that a saved scene, a script and the command line
say the same.
"""

from __future__ import annotations

from enum import Enum

from FewShotSAMLib.prompting.registry import METHODS


class Choice(Enum):
    """Members are a value and what a combo box shows."""

    def __new__(cls, value: str, words: str) -> Choice:
        """A member, which is looked up by its value alone."""
        member = object.__new__(cls)
        member._value_ = value
        member.words = words
        return member

    def label(self) -> str:
        """What Slicer's parameter node shows in a combo box."""
        return self.words


class SupportSource(Choice):
    """Where the marked slices come from."""

    segmentation = "segmentation", "Drawn on this volume"
    file = "file", "Saved support file"


class Preset(Choice):
    """Networks that go well together."""

    embedded = "embedded", "Embedded (no download, any machine)"
    fast = "fast", "Fast (a laptop)"
    balanced = "balanced", "Balanced (a GPU)"
    best = "best", "Best (a large GPU)"


class _Method(Choice):
    """What turns marked slices into points for the network: the library's list."""

    @property
    def trained(self) -> bool:
        """Whether it reads weights."""
        return METHODS[self.value].trained


Method = _Method(
    "Method", {name: (name, entry.label) for name, entry in METHODS.items()}, module=__name__
)


class Into(Choice):
    """Which segmentation takes the result."""

    new = "new", "New segmentation"
    existing = "existing", "Existing segmentation"


class Overwrite(Choice):
    """What the result may take from other segments of the segmentation it goes into."""

    never = "never", "Never: other segments keep their voxels"
    unlocked = "unlocked", "Other unlocked segments"
    all = "all", "All other segments, locked ones as well"


class Extent(Choice):
    """Which slices are segmented."""

    all = "all", "All, or the range set"
    around = "around", "Around the slice shown"
    between = "between", "Between the marked slices"


class Strategy(Choice):
    """How the slices of a volume are worked through."""

    propagate = "propagate", "From the marked slices outwards"
    slices = "slices", "Each slice on its own"
    memory = "memory", "Outwards, by SAM 2's memory"


class Axis(Choice):
    """The slices that were drawn on."""

    auto = "auto", "Automatic"
    axial = "axial", "Axial"
    coronal = "coronal", "Coronal"
    sagittal = "sagittal", "Sagittal"


class Device(Choice):
    """Where the networks compute."""

    auto = "auto", "Automatic"
    cpu = "cpu", "CPU"
    cuda = "cuda", "NVIDIA GPU (CUDA)"
    mps = "mps", "Apple GPU (MPS)"


class Precision(Choice):
    """Number format the networks compute in."""

    auto = "auto", "Automatic"
    fp32 = "fp32", "Single (fp32)"
    bf16 = "bf16", "Half (bf16)"
    fp16 = "fp16", "Half (fp16)"
