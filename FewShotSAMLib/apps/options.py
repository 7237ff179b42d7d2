"""Options that several commands share, and how their values are written."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..prompting.registry import DEFAULT, METHODS, trained_methods

SLICE_CHOICES = ("all", "middle", "largest", "thirds")
AXES = ("auto", "axial", "sagittal", "coronal")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
STRATEGIES = ("slices", "propagate", "memory")
STRATEGY_HELP = (
    "slices, each on its own; propagate, from the marked slices outwards; memory, the same by the "
    "memory of SAM 2 (models fast, balanced, best) (default: propagate)"
)


def add_seg_type(parser: argparse.ArgumentParser) -> None:
    """Which kind of DICOM SEG to write."""
    parser.add_argument(
        "--seg-type",
        choices=("BINARY", "LABELMAP", "FRACTIONAL"),
        default="BINARY",
        help="of a DICOM SEG: BINARY, which every reader knows; LABELMAP, smaller; FRACTIONAL, "
        "which says how sure each slice is (default: BINARY)",
    )


def add_dicom_web(parser: argparse.ArgumentParser) -> None:
    """Where a DICOM SEG is sent."""
    parser.add_argument(
        "--dicom-web",
        metavar="URL",
        help="send the DICOM SEG to this DICOMweb server too, such as https://host/dicom-web "
        "(needs pip install fewshotsam[dicomweb])",
    )


def add_support_options(parser: argparse.ArgumentParser) -> None:
    """Which marked slices to use: files, or a support that was kept."""
    group = parser.add_argument_group("marked slices (an image and its mask, or a kept support)")
    _add_drawings(group)
    group.add_argument(
        "--support",
        type=Path,
        action="append",
        default=[],
        metavar="SUPPORT.nrrd",
        help="a file made by 'fewshotsam support', in place of the two options above",
    )
    add_drawing_options(group)


def _add_drawings(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--support-image",
        type=Path,
        action="append",
        default=[],
        metavar="IMAGE",
        help="the image that was drawn on; repeat for several (default: QUERY)",
    )
    group.add_argument(
        "--support-mask",
        type=Path,
        action="append",
        default=[],
        metavar="MASK",
        help="what was drawn, nonzero on one or more slices; one for each support image",
    )


def add_drawing_options(group: argparse._ActionsContainer) -> None:
    """Which part of a drawing to use."""
    group.add_argument(
        "--label",
        type=int,
        nargs="+",
        action="extend",
        metavar="N",
        help="use only these values of the mask (default: all)",
    )
    group.add_argument(
        "--support-slices",
        type=slice_choice,
        default="all",
        metavar="WHICH",
        help="all, middle, largest, thirds, or slice numbers K,K,... from 0 (default: all)",
    )
    group.add_argument(
        "--axis",
        choices=AXES,
        default="auto",
        help="the direction that was drawn in (default: found from the mask)",
    )


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Which model and method, on which device."""
    group = parser.add_argument_group("model and method")
    _add_method(group)
    _add_networks(group)
    _add_computing(group)
    group.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")


def _add_method(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--method",
        choices=tuple(METHODS),
        default=DEFAULT,
        help="what turns marked slices into prompts: "
        + ", ".join(f"{name} {entry.summary}" for name, entry in METHODS.items())
        + f" (default: {DEFAULT})",
    )
    group.add_argument(
        "--fob",
        metavar="WEIGHTS",
        help=f"FoB's weights for --method {' and '.join(trained_methods())}: embedded, fob-ct, "
        "fob-mr or a file (default: the preset's, or embedded)",
    )


def _add_networks(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--model",
        default="embedded",
        metavar="NAME",
        help="see 'fewshotsam models list' (default: embedded)",
    )
    group.add_argument(
        "--features", metavar="NAME", help="another model for the similarity (default: the model's)"
    )


def _add_computing(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--device",
        default="auto",
        metavar="auto|cpu|cuda|mps",
        help="where to compute (default: auto, the fastest there is)",
    )
    group.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="number format of the networks (default: auto, half precision where it is faster)",
    )
    group.add_argument(
        "--allow-cpu",
        action="store_true",
        help="go on on the CPU when the GPU's memory is too small (default: stop)",
    )


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """How to read images whose files do not tell everything."""
    group = parser.add_argument_group("reading of images")
    _add_parts(group)
    group.add_argument(
        "--nifti-form",
        choices=("qform", "sform"),
        help="which place to take where a NIfTI header tells two (default: as 3D Slicer does)",
    )
    group.add_argument(
        "--modality",
        choices=("CT", "MR", "RGB", "other"),
        help="what the images are (default: found from the file)",
    )
    group.add_argument(
        "--window",
        type=window,
        metavar="LOW:HIGH",
        help="stored values shown as black and white (default: CT -125:275, MR percentiles); "
        "a negative LOW is written --window=-125:275",
    )


def _add_parts(group: argparse._ActionsContainer) -> None:
    """Which image, where a file or folder holds several."""
    group.add_argument(
        "--series",
        metavar="S",
        help="which series of a DICOM folder: its number in the list an error shows, or its UID",
    )
    group.add_argument(
        "--component", type=int, metavar="N", help="which frame of a 4-D image, from 0"
    )


def slice_choice(text: str) -> str | list[int]:
    """ "all", "middle", "largest", "thirds", or slice numbers "3,17"."""
    if text in SLICE_CHOICES:
        return text
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither {', '.join(SLICE_CHOICES)} nor slice numbers such as 3,17"
        ) from None


def positive_int(text: str) -> int:
    """A whole number above 0."""
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return value


def slice_range(text: str) -> tuple[int, int]:
    """ "FIRST:LAST", both from 0 and both included."""
    first, _, last = text.partition(":")
    try:
        numbers = int(first), int(last)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not FIRST:LAST, such as 10:25") from None
    if not 0 <= numbers[0] <= numbers[1]:
        raise argparse.ArgumentTypeError(f"{text!r}: FIRST must be from 0 and not above LAST")
    return numbers


def window(text: str) -> tuple[float, float]:
    """ "LOW:HIGH", in stored values."""
    low, _, high = text.partition(":")
    try:
        numbers = float(low), float(high)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not LOW:HIGH, such as -125:275") from None
    if not numbers[0] < numbers[1]:
        raise argparse.ArgumentTypeError(f"{text!r}: LOW must be below HIGH")
    return numbers
