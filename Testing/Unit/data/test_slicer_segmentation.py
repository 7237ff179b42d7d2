"""Segmentation files with missing or contradictory entries: as Slicer reads them, or refused."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.label_reading import read_labels

SHAPE = (6, 20, 24)


def boxes(number: int) -> list[np.ndarray]:
    layers = []
    for n in range(number):
        layer = np.zeros(SHAPE, np.uint8)
        layer[3, 4:12, 2 + 7 * n : 7 + 7 * n] = 1
        layers.append(layer)
    return layers


def write(path, voxels: np.ndarray, entries: dict[str, str]) -> None:
    image = sitk.GetImageFromArray(voxels, isVector=voxels.ndim == 4)
    for key, text in entries.items():
        image.SetMetaData(key, text)
    sitk.WriteImage(image, str(path))


def refused(path, match) -> None:
    with pytest.raises(InputError, match=match) as error:
        read_labels(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("number", [2, 3])
def test_without_layers_and_values_each_segment_has_its_component(tmp_path, number):
    layers = boxes(number)
    entries = {}
    for n in range(number):
        entries |= {f"Segment{n}_ID": f"S{n}", f"Segment{n}_Name": f"part {n}"}
    write(tmp_path / "s.seg.nrrd", np.stack(layers, axis=-1), entries)
    labels = read_labels(tmp_path / "s.seg.nrrd")
    assert {v: s.name for v, s in labels.segments.items()} == {
        n + 1: f"part {n}" for n in range(number)
    }
    for n, layer in enumerate(layers):
        np.testing.assert_array_equal(labels.voxels == n + 1, layer > 0)


def test_one_segment_without_a_value_has_value_1(tmp_path):
    (layer,) = boxes(1)
    write(tmp_path / "s.seg.nrrd", layer, {"Segment0_ID": "S", "Segment0_Name": "liver"})
    labels = read_labels(tmp_path / "s.seg.nrrd")
    assert {v: s.name for v, s in labels.segments.items()} == {1: "liver"}
    np.testing.assert_array_equal(labels.voxels, layer)


def test_two_segments_of_one_value_in_one_layer_are_refused(tmp_path):
    entries = {}
    for n, name in enumerate(("liver", "spleen")):
        entries |= {f"Segment{n}_Name": name, f"Segment{n}_LabelValue": "1",
                    f"Segment{n}_Layer": "0"}  # fmt: skip
    write(tmp_path / "s.seg.nrrd", boxes(1)[0], entries)
    refused(tmp_path / "s.seg.nrrd", "liver and spleen have the same label value 1 in layer 0")


def test_two_segments_without_values_in_one_layer_are_refused(tmp_path):
    voxels = boxes(2)[0] + 2 * boxes(2)[1]
    write(tmp_path / "s.seg.nrrd", voxels, {"Segment0_Name": "a", "Segment1_Name": "b"})
    refused(tmp_path / "s.seg.nrrd", "a and b have the same label value 1")


def test_numbers_with_gaps_lose_no_segment(tmp_path):
    voxels = boxes(2)[0] + 2 * boxes(2)[1]
    entries = {}
    for number, value in ((0, 1), (3, 2)):
        entries |= {f"Segment{number}_Name": f"part {value}", f"Segment{number}_Layer": "0",
                    f"Segment{number}_LabelValue": str(value)}  # fmt: skip
    write(tmp_path / "s.seg.nrrd", voxels, entries)
    labels = read_labels(tmp_path / "s.seg.nrrd")
    assert {v: s.name for v, s in labels.segments.items()} == {1: "part 1", 2: "part 2"}
    np.testing.assert_array_equal(labels.voxels, voxels)


def test_a_value_without_a_segment_is_named(tmp_path):
    voxels = boxes(2)[0] + 9 * boxes(2)[1]
    write(tmp_path / "s.seg.nrrd", voxels, {"Segment0_Name": "a", "Segment0_LabelValue": "1"})
    labels = read_labels(tmp_path / "s.seg.nrrd")
    assert labels.notes == ("the value 9 belongs to no segment and is left out",)


@pytest.mark.parametrize("entry", ["LabelValue", "Layer", "Color"])
def test_entries_that_are_no_numbers_are_refused(tmp_path, entry):
    entries = {"Segment0_Name": "a", "Segment0_LabelValue": "1", f"Segment0_{entry}": "x"}
    write(tmp_path / "s.seg.nrrd", boxes(1)[0], entries)
    refused(tmp_path / "s.seg.nrrd", "damaged header")
