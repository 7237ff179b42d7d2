"""Reading labels from files of every kind that holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .colour_masks import colour_labels, palette_labels
from .dicom_labels import read_dicom_labels
from .errors import InputError
from .files import DICOM, NIFTI, PICTURES, check_kind, extension, is_dicom_file, open_image
from .frame_labels import label_frames, mask_frames
from .label_maps import lay_on_each_other, split_maps
from .label_values import present_labels, whole_numbers
from .nifti import open_nifti
from .resampling import resample_labels
from .slicer_segmentation import is_segmentation, segmentation_maps
from .soft_masks import cut_soft_mask
from .volume import Segment, Volume


def read_labels(
    path: str | Path,
    like: Volume | None = None,
    *,
    segments: Mapping[int, Segment] | None = None,
    form: str | None = None,
) -> Volume:
    """Labels from a label map, a Slicer segmentation (.seg.nrrd), a DICOM SEG or RTSTRUCT, or a
    coloured picture.

    Values are whole numbers from 0 to 65535; uint8 where they fit, else uint16. Decimal values
    are taken where they are whole. Soft edges and probabilities of one structure are cut at half.
    A segmentation keeps its names and colours; where its segments overlap, upper layers lie on
    top, and a note says what was covered (``read_label_maps`` keeps both). In a colour picture
    each colour other than black is a label, numbered by (R, G, B), in one with a palette the
    palette's numbers are, and in a grey one 255 alone counts as 1. What is transparent is
    background. Each frame of a 4-D mask is one label.

    Args:
        path: the file.
        like: the image they belong to; labels on another grid are brought to its grid by their
            place in patient space.
        segments: label value -> known name and colour. Colours of a picture take the values of
            the known colours.
        form: of a NIfTI file that tells two places, "qform" or "sform".

    Raises:
        InputError: missing, unreadable or unknown file; negative, fractional or too many labels;
            soft edges of several structures; nothing drawn within ``like``.
    """
    return lay_on_each_other(read_label_maps(path, like, segments=segments, form=form))


def read_label_maps(
    path: str | Path,
    like: Volume | None = None,
    *,
    segments: Mapping[int, Segment] | None = None,
    form: str | None = None,
) -> list[Volume]:
    """``read_labels`` as few label maps as hold every structure whole, no label in two of them."""
    path = Path(path)
    maps = _stored_maps(path, like, segments, form)
    if extension(path) in PICTURES:
        maps = [_picture_place(one, like) for one in maps]
    named = []
    for one in maps:
        present = present_labels(one.voxels)
        known = {v: s for v, s in (segments or {}).items() if v in present}
        named.append(replace(one, name=path.name, segments={**one.segments, **known}))
    return named if like is None else _on_grid(named, like)


def _on_grid(maps: Sequence[Volume], like: Volume) -> list[Volume]:
    """The maps on the grid of ``like``; those with nothing there are noted, not all may be."""
    placed, lost = [], []
    for one in maps:
        try:
            placed.append(resample_labels(one, like))
        except InputError as error:
            lost.append((one, error))
    if not placed:
        raise lost[0][1]
    names = [s.name for one, _ in lost for s in one.segments.values()]
    if names:
        note = f"{', '.join(names)}: lies wholly outside of the image"
        placed[0] = replace(placed[0], notes=(*placed[0].notes, note))
    return placed


def _stored_maps(
    path: Path, like: Volume | None, known: Mapping[int, Segment] | None, form: str | None
) -> list[Volume]:
    if path.is_dir() or extension(path) in DICOM or is_dicom_file(path):
        return read_dicom_labels(path, like)
    kind = check_kind(path)
    if kind in (".jpg", ".jpeg"):
        raise InputError(f"{path}: JPG changes colours, so it holds no labels; save it as PNG")
    if kind in PICTURES:
        return [_picture_labels(path, known)]
    if kind in NIFTI:
        opened = open_nifti(path, form)
        grid = _grid(opened.image, path)
        grid = replace(grid, places=opened.places, notes=opened.notes)
        return _plain_maps(opened.image, grid, known)
    image = open_image(path)
    if is_segmentation(image):
        return segmentation_maps(image, path.name)
    return _plain_maps(image, _grid(image, path), known)


def _plain_maps(
    image: Any, grid: Volume, known: Mapping[int, Segment] | None
) -> list[Volume]:
    """Maps of a label map, of colours, or of one structure per frame."""
    if "complex" in image.GetPixelIDTypeAsString():
        raise InputError(f"{grid.name}: its voxels are complex numbers, so they are no labels")
    colours = _colours(image)
    if colours is not None:
        return [colour_labels(grid.with_voxels(colours), known)]
    frames = mask_frames(image, grid.name)
    if len(frames) == 1:
        return [_label_map(grid.with_voxels(frames[0]))]
    layers, note = label_frames(frames, grid.name)
    maps = split_maps(layers, grid, {})
    return [replace(maps[0], notes=(*grid.notes, note)), *maps[1:]]


def _grid(image: Any, path: Path) -> Volume:
    """Where the voxels of an image of two to four dimensions lie, without them."""
    import SimpleITK as sitk

    if 0 in image.GetSize():
        raise InputError(f"{path}: holds no voxels; export it again")
    if image.GetNumberOfComponentsPerPixel() > 1:
        image = sitk.VectorIndexSelectionCast(image, 0)
    while image.GetDimension() > 3:
        size = [*image.GetSize()[:-1], 0]
        image = sitk.Extract(image, size, [0] * image.GetDimension())
    return Volume.from_sitk(image, name=path.name)


def _colours(image: Any) -> np.ndarray | None:
    """(k, j, i, 3) of a colour image, black where it is transparent; None for any other."""
    import SimpleITK as sitk

    whole = image.GetPixelIDTypeAsString().endswith("unsigned integer")
    components = image.GetNumberOfComponentsPerPixel()
    if components not in (3, 4) or not whole or image.GetDimension() > 3:
        return None
    pixels = sitk.GetArrayFromImage(image)
    pixels = pixels[None] if image.GetDimension() == 2 else pixels
    if components == 3:
        return pixels
    return _opaque(pixels[..., :3], pixels[..., 3])


def _opaque(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Pixels with 0 where more than half is transparent."""
    seen = alpha > np.iinfo(alpha.dtype).max // 2
    return np.where(seen.reshape(*seen.shape, *(1,) * (pixels.ndim - seen.ndim)), pixels, 0)


def _label_map(stored: Volume) -> Volume:
    voxels, note = cut_soft_mask(stored.voxels, stored.name)
    notes = (*stored.notes, note) if note else stored.notes
    return stored.with_voxels(
        whole_numbers(voxels, stored.name), modality="other", notes=notes
    )


def _picture_labels(path: Path, known: Mapping[int, Segment] | None) -> Volume:
    """Labels of a picture: grey levels, colours or a palette's numbers."""
    found = _palette_or_alpha(path)
    if found is not None:
        pixels, palette, transparent = found
        grid = Volume(np.zeros((1, *pixels.shape[:2]), np.uint8), name=path.name)
        if palette is None:
            plain = grid.with_voxels(pixels[None])
            return colour_labels(plain, known) if plain.is_rgb else _grey_labels(plain)
        labels = palette_labels(pixels[None], palette, transparent, grid)
        if labels is not None and not known:
            return labels
        colours = palette[np.minimum(pixels, len(palette) - 1)].astype(np.uint8)
        seen = ~np.isin(pixels, list(transparent))
        return colour_labels(grid.with_voxels((colours * seen[..., None])[None]), known)
    image = open_image(path)
    colours = _colours(image)
    if colours is None:
        return _grey_labels(_grid(image, path).with_voxels(mask_frames(image, path.name)[0]))
    if (colours == colours[..., :1]).all() and len(np.unique(colours)) > 8:
        return _grey_labels(_grid(image, path).with_voxels(colours[..., 0]))
    return colour_labels(_grid(image, path).with_voxels(colours), known)


def _grey_labels(picture: Volume) -> Volume:
    labels = _label_map(picture)
    if present_labels(labels.voxels) == [255]:
        return labels.with_voxels((labels.voxels > 0).astype(np.uint8))
    return labels


def _palette_or_alpha(
    path: Path,
) -> tuple[np.ndarray, np.ndarray | None, frozenset[int]] | None:
    """Of a picture with a palette its numbers (H, W), palette (N, 3) and transparent numbers; of
    one with transparency its pixels, black where it is transparent; None for any other."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            if picture.mode == "P":
                palette = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
                clear = picture.info.get("transparency")
                if isinstance(clear, bytes):
                    clear = frozenset(n for n, alpha in enumerate(clear) if alpha < 128)
                elif clear is not None:
                    clear = frozenset([int(clear)])
                return np.asarray(picture), palette, clear or frozenset()
            if picture.mode not in ("RGBA", "LA", "PA"):
                return None
            pixels = np.asarray(picture.convert("RGBA"))
            colours = _opaque(pixels[..., :3], pixels[..., 3])
            return (colours[..., 0] if picture.mode == "LA" else colours), None, frozenset()
    except (
        OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError
    ):
        return None  # ITK says what is wrong with it


def _picture_place(labels: Volume, like: Volume | None) -> Volume:
    """Without the spacing that pictures carry for printers, and at the place of a slice of the
    same size."""
    flat = replace(labels, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), direction=np.eye(3))
    if like is None or like.shape != labels.shape:
        return flat
    return replace(flat, spacing=like.spacing, origin=like.origin, direction=like.direction)
