"""Small drawings, few slices, thick slices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from FewShotSAMLib.data.support import Support
from FewShotSAMLib.data.volume import Volume
from FewShotSAMLib.phantom.abdomen import Phantom


def marked(image: Volume, mask: np.ndarray) -> Support:
    return Support.from_labels(image, image.with_voxels(mask, modality="other", segments={}))


def one_organ(patient: Phantom) -> tuple[np.ndarray, int]:
    """The largest structure, and its middle slice."""
    voxels = patient.truth.voxels
    label = int(np.argmax(np.bincount(voxels.ravel())[1:])) + 1
    mask = (voxels == label).astype(np.uint8)
    return mask, int(np.median(np.flatnonzero(mask.any(axis=(1, 2)))))


def finer(volume: Volume, times: int = 8) -> Volume:
    """The same place in smaller pixels."""
    dx, dy, dz = volume.spacing
    voxels = volume.voxels.repeat(times, axis=1).repeat(times, axis=2)
    return replace(volume, voxels=voxels, spacing=(dx / times, dy / times, dz))


@pytest.mark.parametrize("pixels", [1, 2, 3])
def test_a_drawing_smaller_than_the_model_sees_says_so(segmenter, patient, pixels):
    organ, middle = one_organ(patient)
    image = finer(replace(
        patient.image, voxels=np.ascontiguousarray(patient.image.voxels[middle : middle + 2])
    ))  # fmt: skip
    mask = np.zeros(image.shape, np.uint8)
    row, column = np.argwhere(organ[middle]).mean(axis=0).astype(int) * 8
    mask[0, row, column : column + pixels] = 1
    result = segmenter.segment(image, [marked(image, mask)])
    assert result.slices[0].present and result.slices[0].source == "support"
    assert "smaller than a pixel of what the model sees" in result.notes[-1]


@pytest.mark.parametrize("slices", [1, 2])
def test_volumes_of_one_and_two_slices(segmenter, patient, slices):
    organ, middle = one_organ(patient)
    part = slice(middle, middle + slices)
    image = replace(patient.image, voxels=patient.image.voxels[part])
    mask = organ[part].copy()
    mask[1:] = 0
    result = segmenter.segment(image, [marked(image, mask)])
    assert [found.present for found in result.slices] == [True] * slices
    np.testing.assert_array_equal(result.labels.voxels[0], mask[0])
    assert result.notes == ()


def test_thick_slices(segmenter, patient):
    organ, middle = one_organ(patient)
    part = slice(middle - 2, middle + 3)
    image = replace(patient.image, voxels=patient.image.voxels[part], spacing=(1.0, 1.0, 12.0))
    mask = organ[part].copy()
    mask[[0, 1, 3, 4]] = 0
    support = marked(image, mask)
    assert (support.axis, support.slices) == ("axial", (2,))
    result = segmenter.segment(image, [support])
    found, truth = result.labels.voxels > 0, organ[part] > 0
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.8
