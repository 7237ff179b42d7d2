"""One thread and two give the same labels, to the voxel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from FewShotSAMLib import Support, load_segmenter, read_labels, read_volume


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("axis", ["axial", "sagittal"])
def test_labels_do_not_depend_on_the_number_of_threads(shared_data, precision, axis):
    folder, before, found = shared_data / "hippocampus", torch.get_num_threads(), []
    image = read_volume(folder / "image_1.nii.gz", modality="MR")
    truth = read_labels(folder / "label_1.nii.gz", like=image)
    support = Support.from_labels(image, truth, axis=axis, slices="middle")
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            segmenter = load_segmenter(device="cpu", precision=precision)
            found.append(segmenter.segment(image, support).labels.voxels)
    finally:
        torch.set_num_threads(before)
    assert found[0].any() and np.array_equal(*found)
