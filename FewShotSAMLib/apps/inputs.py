"""From the options of a command to the volumes and supports that it works on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from ..data.drawn_supports import draw_supports
from ..data.errors import InputError
from ..data.label_reading import read_label_maps, read_labels
from ..data.reading import read_volume
from ..data.support import Support
from ..data.volume import Volume
from .option_names import in_options, naming_options


def read_image(path: Path, args: argparse.Namespace) -> Volume:
    """An image file or DICOM folder, read as the reading options ask; what a person should know
    about it goes to standard error.

    Raises:
        InputError: unusable; choices that the library takes as arguments are named as options.
    """
    with naming_options():
        volume = read_volume(
            path,
            modality=args.modality,
            series=args.series,
            component=args.component,
            form=args.nifti_form,
        )
    tell_notes(volume.name, volume.notes)
    return volume


def tell_notes(name: str, notes: Iterable[str]) -> None:
    """One line on standard error for each."""
    for note in notes:
        print(f"fewshotsam: note: {name}: {in_options(note)}", file=sys.stderr)


def read_supports(args: argparse.Namespace, query: Volume) -> list[Support]:
    """All supports that the options name.

    Args:
        args: with the options of `add_support_options` and `query`, the query's path.
        query: already read; it is the support image as well where both are one file.

    Raises:
        InputError: none is named, images and masks do not pair up, or a file is unusable.
    """
    drawings = _drawings(args)
    supports = [kept_support(path) for path in args.support]
    for image, mask in drawings:
        same = image.exists() and args.query.exists() and image.samefile(args.query)
        supports += _drawn(query if same else read_image(image, args), mask, args)
    return supports


def _drawings(args: argparse.Namespace) -> list[tuple[Path, Path]]:
    """(image, mask) of what is drawn in files of its own."""
    masks, images = args.support_mask, args.support_image
    if not masks and not args.support:
        raise InputError("nothing is marked: give --support-image and --support-mask, or --support")
    if not images:
        images = [args.query] * len(masks)
    if len(images) != len(masks):
        raise InputError(
            f"{len(images)} support images and {len(masks)} masks: give one mask for each image"
        )
    return list(zip(images, masks, strict=True))


def draw_support(image: Volume, mask: Path, args: argparse.Namespace) -> Support:
    """The one support of an image and the mask drawn on it; where segments overlap, upper ones lie
    on lower ones."""
    with naming_options():
        labels = read_labels(mask, like=image, form=args.nifti_form)
        (support,) = draw_supports(
            image, [labels], axis=args.axis, slices=args.support_slices, window=args.window,
            keep_labels=args.label,
        )  # fmt: skip
    tell_notes(mask.name, support.notes)
    return support


def _drawn(image: Volume, mask: Path, args: argparse.Namespace) -> list[Support]:
    """The supports of an image and the mask drawn on it, several where segments overlap."""
    with naming_options():
        supports = draw_supports(
            image,
            read_label_maps(mask, like=image, form=args.nifti_form),
            axis=args.axis,
            slices=args.support_slices,
            window=args.window,
            keep_labels=args.label,
        )
    tell_notes(mask.name, dict.fromkeys(note for one in supports for note in one.notes))
    return supports


def excluded_voxels(args: argparse.Namespace, query: Volume) -> Volume | None:
    """What `--exclude` names, where a command has that option.

    Raises:
        InputError: unusable, or nothing is marked in it.
    """
    path = getattr(args, "exclude", None)
    if path is None:
        return None
    with naming_options():
        labels = read_labels(path, like=query, form=args.nifti_form)
    if not labels.voxels.any():
        raise InputError(f"{path}: nothing is marked in it; leave --exclude out")
    return labels


def kept_support(path: Path) -> Support:
    """A support from a file that was kept. Raises InputError where it cannot be used."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; make one with 'fewshotsam support'")
    return Support.load(path)
