"""Segments that overlap are kept whole, or it is said which lost what."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from FewShotSAMLib.data.drawn_supports import draw_supports
from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.label_maps import lay_on_each_other
from FewShotSAMLib.data.label_reading import read_label_maps, read_labels
from FewShotSAMLib.data.volume import Volume

SHAPE = (8, 40, 36)


def disc(row: float, column: float, radius: float, k: int = 4) -> np.ndarray:
    j, i = np.indices(SHAPE[1:])
    layer = np.zeros(SHAPE, np.uint8)
    layer[k] = (j - row) ** 2 + (i - column) ** 2 <= radius**2
    return layer


def write(path, layers: dict[str, np.ndarray]) -> None:
    """One layer for each segment, lower ones first."""
    image = sitk.GetImageFromArray(np.stack([*layers.values()], axis=-1), isVector=True)
    for n, name in enumerate(layers):
        for key, text in {"ID": name, "Name": name, "LabelValue": "1", "Layer": str(n)}.items():
            image.SetMetaData(f"Segment{n}_{key}", text)
    sitk.WriteImage(image, str(path))


def image() -> Volume:
    voxels = np.random.default_rng(0).integers(0, 900, SHAPE).astype(np.int16)
    return Volume(voxels, name="image.nrrd", modality="MR")


def test_a_segment_below_another_is_kept_whole(tmp_path):
    kidney, body = disc(18, 15, 5), disc(20, 18, 15)
    write(tmp_path / "s.seg.nrrd", {"kidney": kidney, "body": body})
    maps = read_label_maps(tmp_path / "s.seg.nrrd", like=image())
    supports = draw_supports(image(), maps)
    assert [one.names for one in supports] == [{1: "kidney"}, {2: "body"}]
    np.testing.assert_array_equal(supports[0].masks(1)[0], kidney[4] > 0)
    np.testing.assert_array_equal(supports[1].masks(2)[0], body[4] > 0)
    assert supports[0].notes[0].startswith("kidney and body overlap; each is used whole")


def test_segments_that_share_nothing_are_one_support(tmp_path):
    write(tmp_path / "s.seg.nrrd", {"left": disc(18, 9, 5), "right": disc(18, 26, 5)})
    (support,) = draw_supports(image(), read_label_maps(tmp_path / "s.seg.nrrd", like=image()))
    assert support.names == {1: "left", 2: "right"} and support.notes == ()


def test_one_map_says_which_lost_what(tmp_path):
    write(tmp_path / "s.seg.nrrd", {"kidney": disc(18, 15, 5), "body": disc(20, 18, 15)})
    labels = read_labels(tmp_path / "s.seg.nrrd")
    assert labels.notes == ("segments overlap: kidney is wholly covered by body",)
    half = {"kidney": disc(20, 4, 5), "body": disc(20, 18, 15)}
    write(tmp_path / "h.seg.nrrd", half)
    lost = np.count_nonzero(half["kidney"] & half["body"])
    assert f"{lost} voxels" in lay_on_each_other(read_label_maps(tmp_path / "h.seg.nrrd")).notes[0]


def test_a_covered_segment_can_be_chosen_alone(tmp_path):
    kidney = disc(18, 15, 5)
    write(tmp_path / "s.seg.nrrd", {"kidney": kidney, "body": disc(20, 18, 15)})
    maps = read_label_maps(tmp_path / "s.seg.nrrd", like=image())
    (support,) = draw_supports(image(), maps, keep_labels=[1])
    assert support.names == {1: "kidney"}
    np.testing.assert_array_equal(support.masks(1)[0], kidney[4] > 0)
    with pytest.raises(InputError, match="has no label 3; it holds 1, 2"):
        draw_supports(image(), maps, keep_labels=[3])


def test_slice_numbers_go_to_the_segments_that_have_them(tmp_path):
    layers = {"kidney": disc(18, 15, 5, k=4), "body": disc(20, 18, 15, k=4) | disc(20, 18, 14, k=6)}
    write(tmp_path / "s.seg.nrrd", layers)
    maps = read_label_maps(tmp_path / "s.seg.nrrd", like=image())
    (support,) = draw_supports(image(), maps, slices=[6])
    assert support.names == {2: "body"} and support.slices == (6,)
    with pytest.raises(InputError, match="drawn on axial slice 5; drawn slices are 4, 6"):
        draw_supports(image(), maps, slices=[5])


def test_a_segment_outside_of_the_image_is_named(tmp_path):
    far = np.zeros(SHAPE, np.uint8)
    far[4, 34:, :] = 1
    write(tmp_path / "s.seg.nrrd", {"kidney": disc(15, 15, 5), "bone": far})
    part = Volume(image().voxels[:, :30], name="image.nrrd")
    maps = read_label_maps(tmp_path / "s.seg.nrrd", like=part)
    notes = " ".join(note for one in maps for note in one.notes)
    assert "bone: lies wholly outside of the image" in notes
