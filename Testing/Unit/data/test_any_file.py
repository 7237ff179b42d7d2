"""Random geometry, types, headers and tags, written and read back: 30 examples of each kind in
every run, 500 with ``-m nightly``."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial.transform import Rotation
from written_dicom import write_enhanced, write_slices

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.label_reading import read_label_maps, read_labels
from FewShotSAMLib.data.label_values import present_labels
from FewShotSAMLib.data.reading import read_volume
from FewShotSAMLib.data.volume import Segment, Volume
from FewShotSAMLib.data.writing import write_labels, write_volume

EXAMPLES = (30, pytest.param(500, marks=pytest.mark.nightly))


def holds(examples: int, check, *strategies) -> None:
    """The property ``check(folder, ...)`` holds for so many examples."""

    @settings(max_examples=examples, deadline=None, database=None)
    @given(st.tuples(*strategies))
    def run(drawn):
        with tempfile.TemporaryDirectory() as folder:
            check(Path(folder), *drawn)

    run()


rotations = st.tuples(*[st.floats(-180, 180)] * 3).map(
    lambda angles: Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
)
handedness = st.sampled_from((np.eye(3), np.diag([1, 1, -1]), np.eye(3)[[2, 0, 1]]))
spacings = st.tuples(*[st.floats(0.2, 12.0)] * 3)
origins = st.tuples(*[st.floats(-500, 500)] * 3)
shapes = st.tuples(st.integers(2, 7), st.integers(3, 8), st.integers(3, 8))
seeds = st.integers(0, 2**32 - 1)


def numbers(seed: int, shape, dtype) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(0, 300, shape).astype(dtype)
    return rng.integers(0, 200, shape).astype(dtype)


# ----------------------------------------------------------------------------------- volumes


def check_volume(folder, seed, shape, spacing, origin, rotation, base, dtype, kind) -> None:
    volume = Volume(numbers(seed, shape, dtype), spacing, origin, rotation @ base)
    write_volume(volume, folder / f"v{kind}")
    back = read_volume(folder / f"v{kind}")
    assert back.voxels.dtype == volume.voxels.dtype
    np.testing.assert_array_equal(back.voxels, volume.voxels)
    np.testing.assert_allclose(back.corners(), volume.corners(), atol=0.02)
    assert back.notes == ()


@pytest.mark.parametrize("examples", EXAMPLES)
def test_volumes(examples):
    holds(
        examples, check_volume, seeds, shapes, spacings, origins, rotations, handedness,
        st.sampled_from((np.uint8, np.int16, np.uint16, np.int32, np.float32)),
        st.sampled_from((".nii.gz", ".nii", ".nrrd", ".mha")),
    )  # fmt: skip


# -------------------------------------------------------------------------------------- NIfTI


def nifti(voxels, forms, codes, spacing, version, order):
    kind = (nibabel.Nifti1Image, nibabel.Nifti2Image)[version - 1]
    header = kind.header_class(endianness=order)
    header.set_data_dtype(voxels.dtype.newbyteorder(order))
    image = kind(voxels, None, header)
    image.header.set_zooms(spacing)
    for name, form, code in zip(("qform", "sform"), forms, codes):
        getattr(image, f"set_{name}")(form if code else None, code)
    return image


def check_nifti(folder, seed, shape, spacing, places, codes, mask_codes, version, order, kind):
    """Wherever the header says that it lies, and even where it says nothing or two things, a mask
    that a program saved at any of the image's places stays on its voxels."""
    shape = shape[::-1]
    forms = []
    for origin, rotation in places:
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = rotation * spacing, origin
        forms.append(affine)
    grey = numbers(seed, shape, np.int16)
    mask = np.zeros(shape, np.uint8)
    mask[1, 1:, :2], mask[2, 1:, 1:] = 1, 2
    nibabel.save(nifti(grey, forms, codes, spacing, version, order), folder / f"i{kind}")
    nibabel.save(nifti(mask, forms, mask_codes, spacing, version, order), folder / f"m{kind}")
    image = read_volume(folder / f"i{kind}")
    np.testing.assert_array_equal(image.voxels, grey.transpose(2, 1, 0))
    told = [forms[n] for n in range(2) if codes[n]]
    if told:
        lps = [np.diag([-1, -1, 1, 1]) @ form for form in told]
        assert any(np.allclose(image.affine, one, atol=0.01) for one in lps)
    apart = len(told) == 2 and not np.allclose(*told, atol=0.3 * min(spacing))
    assert bool(image.notes) == (apart or not told) or len(told) == 2
    shared = [n for n in range(2) if codes[n] and mask_codes[n]]
    if shared or not told or not any(mask_codes):
        labels = read_labels(folder / f"m{kind}", like=image)
        np.testing.assert_array_equal(labels.voxels, mask.transpose(2, 1, 0))
        write_labels(labels, folder / "o.nii.gz")
        for reader in (_by_itk, _by_nibabel):
            if version == 1 or reader is _by_nibabel:
                np.testing.assert_allclose(
                    reader(folder / "o.nii.gz"), reader(folder / f"i{kind}"), atol=0.02
                )


def _by_itk(path) -> np.ndarray:
    return Volume.from_sitk(sitk.ReadImage(str(path))).affine


def _by_nibabel(path) -> np.ndarray:
    return nibabel.load(path).affine


@pytest.mark.parametrize("examples", EXAMPLES)
def test_nifti_headers(examples):
    place = st.tuples(origins, rotations)
    codes = st.tuples(st.integers(0, 4), st.integers(0, 4))
    holds(
        examples, check_nifti, seeds, st.tuples(*[st.integers(4, 7)] * 3), spacings,
        st.one_of(st.tuples(place, place), place.map(lambda one: (one, one))),
        codes, codes, st.sampled_from((1, 2)), st.sampled_from("<>"),
        st.sampled_from((".nii", ".nii.gz")),
    )  # fmt: skip


# -------------------------------------------------------------------------------------- DICOM


def check_series(folder, seed, shape, spacing, origin, rotation, slopes, missing, lean) -> None:
    """Every slice of a series is found at its own position, whatever else is missing."""
    shape = (9, *shape[1:])
    cosines = rotation.copy()
    cosines[:, 2] = rotation[:, 2] + lean * rotation[:, 1]
    length = np.linalg.norm(cosines[:, 2])
    cosines[:, 2] /= length
    stored = numbers(seed, shape, np.int16)
    volume = Volume(stored, (*spacing[:2], spacing[2] * length), origin, cosines)
    rng = np.random.default_rng(seed)
    values = rng.choice(slopes, 9)
    paths = write_slices(
        folder / "s", volume, Modality="PT", RescaleSlope=lambda k: f"{values[k]:.6g}"
    )
    for k in missing:
        paths[k].unlink()
    kept = [k for k in range(9) if k not in missing]
    for name, path in zip(rng.permutation(len(kept)), [paths[k] for k in kept]):
        path.rename(path.with_name(f"{name:02d}"))
    read = read_volume(folder / "s")
    assert len(read.voxels) == kept[-1] - kept[0] + 1
    pixel = 0.05 * min(spacing) + 0.51 * min(spacing[:2])
    for k in kept:
        place = volume.index_to_world((0, 0, k))
        i, j, index = read.world_to_index(place)
        assert index == pytest.approx(k - kept[0], abs=0.02)
        assert abs(i) * spacing[0] < pixel and abs(j) * spacing[1] < pixel
        expected = stored[k] * float(f"{values[k]:.6g}")
        np.testing.assert_allclose(read.voxels[k - kept[0]], expected, rtol=1e-5)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_dicom_series(examples):
    holds(
        examples, check_series, seeds, shapes, spacings, origins, rotations,
        st.sampled_from(([1.0], [1.0, 2.0], [1.0, 0.002], [0.37, 1.9, 0.05])),
        st.sets(st.integers(0, 8), max_size=4).filter(
            lambda gone: {1, 2, 3}.isdisjoint(gone) or {5, 6, 7}.isdisjoint(gone)
        ),
        st.sampled_from((0.0, 0.0, 0.25, -0.4)),
    )  # fmt: skip


def check_enhanced(folder, seed, shape, spacing, origin, rotation, order, slopes, times) -> None:
    """Frames in any order, with slopes of their own and one or several of each position."""
    volume = Volume(numbers(seed, (len(order), *shape[1:]), np.int16), spacing, origin, rotation)
    frames = [k for k in order for _ in range(times)]
    own = [slopes[n % len(slopes)] for n in range(len(frames))]
    content = {"TemporalPositionIndex": [1 + n % times for n in range(len(frames))]}
    write_enhanced(folder / "f.dcm", volume, frames, own, **content)
    if times > 1:
        with pytest.raises(InputError, match=f"holds {times} frames of the same slices"):
            read_volume(folder / "f.dcm")
    for time in range(times):
        read = read_volume(folder / "f.dcm", component=time if times > 1 else None, modality="MR")
        assert read.same_grid(volume)
        for n, k in enumerate(frames):
            if n % times == time:
                np.testing.assert_allclose(read.voxels[k], volume.voxels[k] * own[n], rtol=1e-5)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_enhanced_files(examples):
    holds(
        examples, check_enhanced, seeds, shapes, spacings, origins, rotations,
        st.integers(2, 7).flatmap(lambda count: st.permutations(range(count))),
        st.sampled_from(([1.0], [1.0, 0.5], [0.25, 3.0, 1.5])), st.integers(1, 3),
    )  # fmt: skip


# -------------------------------------------------------------------------------------- masks


def check_segments(folder, seed, count, layers, complete) -> None:
    """Every segment of a segmentation comes back whole under its name, or the file is refused."""
    rng = np.random.default_rng(seed)
    masks = [rng.random((3, 8, 9)) < 0.3 for _ in range(count)]
    place = rng.permutation(count) if layers == count else rng.integers(0, layers, count)
    stored = np.zeros((3, 8, 9, layers), np.uint8)
    entries, whole = {}, {}
    for n, mask in enumerate(masks):
        taken = np.unique(stored[..., place[n]])
        value = int(taken.max()) + 1
        free = mask & (stored[..., place[n]] == 0)
        if not free.any():
            return
        stored[..., place[n]][free] = value
        whole[f"part {n}"] = free
        entries |= {f"Segment{n}_ID": f"S{n}", f"Segment{n}_Name": f"part {n}"}
        if complete:
            entries |= {f"Segment{n}_LabelValue": str(value), f"Segment{n}_Layer": str(place[n])}
    image = sitk.GetImageFromArray(stored if layers > 1 else stored[..., 0], isVector=layers > 1)
    for key, text in entries.items():
        image.SetMetaData(key, text)
    sitk.WriteImage(image, str(folder / "s.seg.nrrd"))
    ordered = layers == count and list(place) == list(range(count))
    if not complete and not ordered:
        if layers != count:
            with pytest.raises(InputError, match="have the same label value 1 in layer 0"):
                read_label_maps(folder / "s.seg.nrrd")
        return
    maps = read_label_maps(folder / "s.seg.nrrd")
    found = {s.name: one.voxels == v for one in maps for v, s in one.segments.items()}
    assert set(found) == set(whole)
    for name, mask in whole.items():
        np.testing.assert_array_equal(found[name], mask)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_segmentations(examples):
    both = st.integers(2, 5).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n)))
    holds(
        examples, lambda folder, seed, pair, complete: check_segments(
            folder, seed, *pair, complete
        ), seeds, both, st.booleans(),
    )  # fmt: skip


def check_labels(folder, seed, shape, spacing, origin, rotation, values, kind) -> None:
    rng = np.random.default_rng(seed)
    voxels = rng.choice([0, *values], shape).astype(np.uint16)
    segments = {v: Segment(f"n{v}", tuple(np.round(rng.random(3), 3))) for v in values}
    labels = Volume(voxels, spacing, origin, rotation, segments=segments)
    write_labels(labels, folder / f"l{kind}")
    back = read_labels(folder / f"l{kind}", like=replace(labels, segments={}))
    np.testing.assert_array_equal(back.voxels, voxels)
    if kind == ".seg.nrrd":
        assert {v: s.name for v, s in back.segments.items()} == {v: f"n{v}" for v in values}


@pytest.mark.parametrize("examples", EXAMPLES)
def test_labels(examples):
    holds(
        examples, check_labels, seeds, shapes, spacings, origins, rotations,
        st.lists(st.integers(1, 65535), min_size=1, max_size=12, unique=True),
        st.sampled_from((".nii.gz", ".nrrd", ".mha", ".seg.nrrd")),
    )  # fmt: skip


def check_picture(folder, seed, mode, count) -> None:
    """A mask of flat colours keeps its areas in every mode that programs save."""
    rng = np.random.default_rng(seed)
    areas = np.kron(rng.integers(0, count + 1, (4, 5)), np.ones((6, 6), int)).astype(np.uint8)
    palette = np.zeros((256, 3), np.uint8)
    palette[1 : count + 1] = rng.permutation(np.arange(1, 25))[:count, None] * (10, 5, 1)
    if mode == "P":
        picture = Image.fromarray(areas).convert("P")
        picture.putpalette(palette.ravel().tolist())
        picture.putdata(areas.ravel())
    elif mode == "L":
        picture = Image.fromarray(areas)
    else:
        pixels = palette[areas]
        if mode == "RGBA":
            hidden = np.where(areas[..., None] > 0, pixels, rng.integers(0, 256, 3))
            alpha = np.where(areas > 0, 255, 0)[..., None]
            pixels = np.concatenate((hidden, alpha), axis=-1).astype(np.uint8)
        picture = Image.fromarray(pixels)
    picture.save(folder / "m.png")
    read = read_labels(folder / "m.png").voxels[0]
    np.testing.assert_array_equal(read > 0, areas > 0)
    for value in present_labels(areas[None]):
        assert len(np.unique(read[areas == value])) == 1
        assert mode in ("RGB", "RGBA") or read[areas == value][0] == value
    assert len(np.unique(read)) == len(np.unique(areas))


@pytest.mark.parametrize("examples", EXAMPLES)
def test_pictures(examples):
    holds(
        examples, check_picture, seeds, st.sampled_from(("L", "P", "RGB", "RGBA")),
        st.integers(1, 5),
    )  # fmt: skip
