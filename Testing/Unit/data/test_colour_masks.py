"""Coloured masks: transparency is background, and a palette's numbers are labels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from FewShotSAMLib.data.label_reading import read_labels
from FewShotSAMLib.data.label_values import present_labels
from FewShotSAMLib.data.volume import Segment


def place(column: int = 3) -> np.ndarray:
    mask = np.zeros((20, 30), bool)
    mask[4:14, column : column + 8] = True
    return mask


@pytest.mark.parametrize("hidden", [(255, 255, 255), (0, 0, 0), (10, 200, 30)])
def test_what_is_transparent_is_background(tmp_path, hidden):
    pixels = np.zeros((20, 30, 4), np.uint8)
    pixels[..., :3] = hidden
    pixels[place()] = (255, 0, 0, 255)
    Image.fromarray(pixels, "RGBA").save(tmp_path / "m.png")
    labels = read_labels(tmp_path / "m.png")
    assert {v: s.name for v, s in labels.segments.items()} == {1: "#ff0000"}
    np.testing.assert_array_equal(labels.voxels[0], place())


def test_grey_with_transparency(tmp_path):
    pixels = np.full((20, 30, 2), (255, 0), np.uint8)
    pixels[place()] = (255, 255)
    Image.fromarray(pixels, "LA").save(tmp_path / "m.png")
    labels = read_labels(tmp_path / "m.png")
    np.testing.assert_array_equal(labels.voxels[0], place())


def write_palette(path, indices: np.ndarray, palette: list[int], **options) -> None:
    picture = Image.fromarray(indices.astype(np.uint8)).convert("P")
    picture.putpalette(palette)
    picture.putdata(indices.astype(np.uint8).ravel())
    picture.save(path, **options)


VOC = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128]


@pytest.mark.parametrize("indices", [(3,), (1, 4), (2, 3)])
def test_a_palettes_numbers_are_kept(tmp_path, indices):
    picture = np.zeros((20, 30), np.uint8)
    for n, index in enumerate(indices):
        picture[place(2 + 12 * n)] = index
    write_palette(tmp_path / "m.png", picture, VOC)
    labels = read_labels(tmp_path / "m.png")
    np.testing.assert_array_equal(labels.voxels[0], picture)
    assert sorted(labels.segments) == sorted(indices)


def test_a_transparent_number_is_background(tmp_path):
    picture = np.full((20, 30), 2, np.uint8)
    picture[place()] = 3
    write_palette(tmp_path / "m.png", picture, VOC, transparency=2)
    assert present_labels(read_labels(tmp_path / "m.png").voxels) == [3]


def test_where_black_is_another_number_the_colours_count(tmp_path):
    picture = np.ones((20, 30), np.uint8)
    picture[place()] = 0
    write_palette(tmp_path / "m.png", picture, [255, 0, 0, 0, 0, 0])
    labels = read_labels(tmp_path / "m.png")
    np.testing.assert_array_equal(labels.voxels[0], place())
    assert labels.segments[1].name == "#ff0000"


def test_known_colours_of_a_palette_take_their_values(tmp_path):
    picture = np.where(place(), 3, 0)
    write_palette(tmp_path / "m.png", picture, VOC)
    known = {7: Segment("nerve", (128 / 255, 128 / 255, 0.0))}
    labels = read_labels(tmp_path / "m.png", segments=known)
    assert present_labels(labels.voxels) == [7] and labels.segments[7].name == "nerve"
