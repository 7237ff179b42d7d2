"""Frames, grey levels and masks of FoB's published networks against their files' preparation."""

from __future__ import annotations

from pathlib import Path

import fob_files_literal as literal
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from FewShotSAMLib.data.published_frame import published_frame
from FewShotSAMLib.data.reading import read_labels, read_volume
from FewShotSAMLib.data.standard import Standard, measure_standard
from FewShotSAMLib.data.volume import Volume
from FewShotSAMLib.prompting.published_view import PublishedView

# (modality, (W, H), (dx, dy, dz), the name of the case)
GRIDS = {
    "MR, larger than the square": ("MR", (300, 330), (1.3, 1.3, 7.7)),
    "MR, smaller, odd, thin slices": ("MR", (181, 200), (1.5, 1.6, 5.0)),
    "MR, prepared": ("MR", (256, 256), (1.25, 1.25, 7.7)),
    "CT": ("CT", (512, 512), (0.78, 0.78, 5.0)),
}


def stored(folder: Path, modality: str, size, spacing, depth: int = 5) -> tuple[Path, Path]:
    """An image and its labels as dcm2nii stores them: blobs of all sizes, and a drawn one."""
    rng = np.random.default_rng(3)
    small = rng.random((depth, 14, 15))
    grey = sitk.Resample(
        sitk.GetImageFromArray(small), [*size, depth], sitk.Transform(), sitk.sitkBSpline,
        (0.0, 0.0, 0.0), (14.0 / size[0], 13.0 / size[1], 1.0), (1, 0, 0, 0, 1, 0, 0, 0, 1), 0.0,
    )
    grey = sitk.GetArrayFromImage(grey) + 0.1 * rng.random((depth, *size[::-1]))
    rows, columns = np.mgrid[: size[1], : size[0]]
    disc = ((rows - 0.6 * size[1]) / 31) ** 2 + ((columns - 0.4 * size[0]) / 40) ** 2 <= 1
    labels = np.repeat(disc[None], depth, 0).astype(np.uint8)
    grey = grey * 600 - 200 if modality == "CT" else np.clip(grey, 0, None) * 900
    paths = folder / "image_1.nii.gz", folder / "label_1.nii.gz"
    for array, path in zip((grey.astype(np.float32), labels), paths):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(spacing)
        image.SetOrigin((-100.0, 120.0, 7.0))
        image.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, 1))
        sitk.WriteImage(image, str(path))
    return paths


@pytest.mark.parametrize("name", GRIDS)
def test_pictures_masks_and_places_are_those_of_the_prepared_files(name, tmp_path):
    modality, size, spacing = GRIDS[name]
    image, label = stored(tmp_path, modality, size, spacing)
    prepare = literal.prepared_ct if modality == "CT" else literal.prepared_mr
    wanted = prepare(image, label, 1)

    volume = read_volume(image, modality=modality).canonical()[0]
    labels = read_labels(label, like=read_volume(image, modality=modality)).canonical()[0]
    frame = published_frame(size[::-1], volume.spacing[:2], modality, 256, True)
    z = measure_standard(volume)
    shown = torch.from_numpy(z.above_low(volume.voxels))[:, None]
    pictures = z.scores(frame.images_to_model(shown))[:, 0]
    covers = frame.masks_to_model(torch.from_numpy(labels.voxels == 1))[:, 0]

    scores, step = wanted.scores(), spacing[2] / literal.THICKNESS
    for index in (0, 2, 4):
        there = index if modality == "CT" or "prepared" in name else index * step
        if there != round(there):
            continue  # the prepared file has no slice there
        theirs = literal.for_network(scores[round(there)])
        assert (pictures[index] - theirs).abs().max() < 1e-4
        mask = literal.for_network(wanted.mask[round(there)])
        assert torch.equal(covers[index] > 0, mask > 0)
        assert (covers[index] - mask).abs().max() < 1e-6
    assert z.mean - z.low == pytest.approx(_units(wanted, z).mean(), rel=1e-4)
    assert z.deviation == pytest.approx(_units(wanted, z).std(), rel=1e-4)

    points = np.array([[0.0, 0.0], [255.0, 255.0], [100.25, 7.5]])
    ours = volume.index_to_world(np.column_stack([frame.to_slice(points), [2.0] * 3]))
    assert np.allclose(ours, wanted.millimetres(points, 2), atol=1e-4)


def _units(wanted: literal.Prepared, z: Standard) -> np.ndarray:
    """The prepared file in stored values above the lowest one."""
    if z.low == -125:
        return wanted.image / 255 * 400
    return wanted.image - wanted.image.min()


def test_a_prepared_ct_is_taken_as_it_is():
    frame = published_frame((257, 257), (1.4, 1.4), "CT", 256, True)
    picture = torch.rand(1, 1, 257, 257, generator=torch.Generator().manual_seed(0))
    theirs = literal.for_network(picture[0, 0].flip(0).numpy())
    assert torch.allclose(frame.images_to_model(picture)[0, 0], theirs, atol=1e-6)
    voxels = np.random.default_rng(0).integers(0, 256, (4, 257, 257)).astype(np.float32)
    z = measure_standard(Volume(voxels, (1.4, 1.4, 5.0), modality="CT"))
    assert (z.low, z.high) == (0, 255)
    assert (z.mean, z.deviation) == (pytest.approx(voxels.mean()), pytest.approx(voxels.std()))


def test_prepared_mr_is_not_clipped_again():
    voxels = np.random.default_rng(0).random((4, 256, 256)).astype(np.float32)
    prepared = measure_standard(Volume(voxels, (1.25, 1.25, 7.7), modality="MR"))
    raw = measure_standard(Volume(voxels, (1.2, 1.2, 7.7), modality="MR"))
    assert prepared.high == voxels.max() and raw.high == pytest.approx(np.percentile(voxels, 99.5))


@given(
    height=st.integers(40, 400), width=st.integers(40, 400), dx=st.floats(0.5, 2.5),
    dy=st.floats(0.5, 2.5), modality=st.sampled_from(["CT", "MR"]), flipped=st.booleans(),
    size=st.sampled_from([256, 1024]),
)
@settings(max_examples=60, deadline=None)
def test_points_and_masks_come_back(height, width, dx, dy, modality, flipped, size):
    frame = published_frame((height, width), (dx, dy), modality, size, flipped)
    points = np.random.default_rng(0).uniform(0, size, (6, 2))
    assert np.allclose(frame.to_model(frame.to_slice(points)), points, atol=1e-6)
    rows = frame.to_slice([[0.0, 0.0], [0.0, size - 1.0]])[:, 1]
    assert (rows[0] > rows[1]) == flipped
    edges = frame.to_slice([[-0.5, -0.5], [size - 0.5, size - 0.5]])
    sides = np.abs(edges[1] - edges[0]) * (dx, dy)
    assert np.allclose(sides, frame.field.side_mm, rtol=1e-6), "a pixel is square"
    assert np.allclose(edges.mean(0) * (dx, dy), frame.field.centre_mm, atol=1e-6)


@pytest.mark.parametrize("flipped", [False, True])
def test_a_mask_and_its_logits_lie_in_one_place(flipped):
    frame = published_frame((300, 280), (1.1, 1.1), "MR", 256, flipped)
    mask = torch.zeros(1, 300, 280)
    mask[0, 100:140, 60:120] = 1
    cover = frame.masks_to_model(mask)
    back = frame.logits_to_slice(cover - 0.5)[0, 0] > 0
    assert 2 * (back & mask[0].bool()).sum() / (back.sum() + mask.sum()) > 0.97


def test_a_single_marked_pixel_is_not_lost():
    """Between two prepared pixels it would be; then what it covers counts."""
    frame = published_frame((512, 512), (0.8, 0.8), "CT", 256, True)
    masks = torch.zeros(2, 512, 512)
    masks[0, 201, 201] = 1
    masks[1, 150:200, 150:200] = 1
    covers = frame.masks_to_model(masks)
    assert 0 < covers[0].sum() < 2 and covers[1].max() == pytest.approx(1)
    assert torch.equal(covers[1], frame.masks_to_model(masks[1:])[0])


@pytest.mark.parametrize("name", ["MR, larger than the square", "CT"])
def test_sam_sees_each_slice_from_its_darkest_to_its_brightest_pixel(name, tmp_path):
    modality, size, spacing = GRIDS[name]
    image, label = stored(tmp_path, modality, size, spacing)
    prepare = literal.prepared_ct if modality == "CT" else literal.prepared_mr
    volume = read_volume(image, modality=modality).canonical()[0]
    view = PublishedView(modality, True)
    frame = view.frame(size[::-1], volume.spacing[:2], 1024)
    z = measure_standard(volume)
    shown = view.pictures(volume.voxels[2:3], frame, z, torch.device("cpu"))
    theirs = literal.for_sam(prepare(image, label, 1).scores()[2], 1024)
    assert shown.shape == (1, 3, 1024, 1024)
    away = (shown[0, 0] * 255 - torch.from_numpy(theirs.copy())).abs()
    assert away.max() <= 2.01 and away.mean() < 0.4  # theirs is rounded to 8 bits twice
