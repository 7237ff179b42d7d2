"""Contact sheets: what is outlined lies where it should, in the right colour."""

from __future__ import annotations

import numpy as np
import pytest

from FewShotSAMLib.apps.report.pictures import MARGIN, TILE_WIDTH, Stack, contact_sheet
from FewShotSAMLib.data.volume import Segment, Volume

SEGMENTS = {1: Segment("left half", (1.0, 0.0, 0.0))}


def stack(axis="axial", direction=None, truth=False):
    grey = np.random.default_rng(0).uniform(50, 100, (6, 40, 60)).astype(np.float32)
    labels = np.zeros(grey.shape, np.uint8)
    labels[2:4, 10:30, 5:25] = 1
    grid = {"direction": np.eye(3) if direction is None else direction, "spacing": (2, 2, 5)}
    image = Volume(voxels=grey, modality="MR", **grid)
    return Stack.of(
        image,
        Volume(voxels=labels, **grid),
        axis,
        SEGMENTS,
        Volume(voxels=labels, **grid) if truth else None,
    )


def red(picture):
    rgb = np.asarray(picture).astype(int)
    return (rgb[..., 0] > 200) & (rgb[..., 1] < 60) & (rgb[..., 2] < 60)


def test_outline_lies_around_the_label():
    sheet = contact_sheet(stack(), [2], columns=1)
    rows, columns = np.nonzero(red(sheet)[: MARGIN + 200])
    scale = TILE_WIDTH / 60
    assert columns.min() - MARGIN == pytest.approx(5 * scale, abs=3)
    assert columns.max() - MARGIN == pytest.approx(25 * scale, abs=3)
    assert rows.min() - MARGIN == pytest.approx(10 * scale, abs=3)
    assert rows.max() - MARGIN == pytest.approx(30 * scale, abs=3)


def test_slice_without_label_has_no_outline():
    assert not red(contact_sheet(stack(), [0], columns=1))[:200].any()


def test_shown_slices_carry_labels_and_the_marked_one_is_among_them():
    assert stack().chosen(16) == [2, 3]
    assert stack().chosen(2, always=[5]) in ([2, 5], [3, 5])


def test_numbers_are_those_of_the_file():
    upside_down = np.diag([1.0, 1.0, -1.0])
    assert list(stack(direction=upside_down).numbers) == [5, 4, 3, 2, 1, 0]
    assert list(stack().numbers) == [0, 1, 2, 3, 4, 5]


def test_a_volume_stored_upside_down_looks_the_same():
    """Turned by storage, not in space: the patient's right stays on the left of the picture."""
    grey = np.zeros((2, 30, 30), np.float32)
    grey[:, :, :15] = 100
    grey[:, 5, 20] = 50
    labels = (grey > 60).astype(np.uint8)

    def shown(flip):
        sign = -1.0 if flip else 1.0
        turn = (slice(None), slice(None), slice(None, None, -1 if flip else 1))
        grid = {
            "direction": np.diag([sign, 1.0, 1.0]),
            "origin": (29.0 if flip else 0.0, 0.0, 0.0),
        }
        image = Volume(voxels=grey[turn].copy(), modality="MR", **grid)
        drawn = Volume(voxels=labels[turn].copy(), **grid)
        return contact_sheet(Stack.of(image, drawn, "axial", SEGMENTS), [0])

    assert np.array_equal(np.asarray(shown(False)), np.asarray(shown(True)))


@pytest.mark.parametrize("axis", ["coronal", "sagittal"])
def test_other_axes_keep_physical_proportions(axis):
    sheet = contact_sheet(stack(axis), [10], columns=1)
    width_mm = {"coronal": 60 * 2, "sagittal": 40 * 2}[axis]
    height = sheet.size[1] - 2 * MARGIN - 30
    assert height == pytest.approx(TILE_WIDTH * 6 * 5 / width_mm, abs=6)


def test_truth_is_dotted_white_under_the_result():
    plain = np.asarray(contact_sheet(stack(), [2], columns=1))
    empty = stack(truth=True)
    empty.labels[...] = 0
    dotted = np.asarray(contact_sheet(empty, [2], columns=1))
    white = (dotted[:200] == 255).all(axis=-1)
    assert 50 < white.sum() < red(plain)[:200].sum()
