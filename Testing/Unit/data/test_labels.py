"""Labels: values, names and colours from every kind of file, on the image's grid, and back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.label_values import present_labels, whole_numbers
from FewShotSAMLib.data.reading import read_labels, read_volume
from FewShotSAMLib.data.resampling import resample_labels, resample_volume
from FewShotSAMLib.data.volume import Segment, Volume
from FewShotSAMLib.data.writing import write_labels, write_volume

RED, BLUE = (1.0, 0.0, 0.0), (0.2, 0.4, 0.8)


def balls(shape=(12, 40, 40)) -> np.ndarray:
    """Label 1, a large ball, and label 2, a smaller one beside it."""
    k, j, i = np.indices(shape)
    labels = np.zeros(shape, np.uint8)
    labels[((k - 6) / 4) ** 2 + ((j - 14) / 9) ** 2 + ((i - 14) / 9) ** 2 <= 1] = 1
    labels[((k - 6) / 3) ** 2 + ((j - 29) / 6) ** 2 + ((i - 27) / 7) ** 2 <= 1] = 2
    return labels


def refused(path, match, **options) -> None:
    with pytest.raises(InputError, match=match) as error:
        read_labels(path, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [".nii.gz", ".nii", ".nrrd", ".mha", ".seg.nrrd"])
def test_labels_survive_every_format(tmp_path, kind):
    rotation = Rotation.from_euler("xyz", (20, -30, 70), degrees=True).as_matrix()
    labels = Volume(balls(), (0.7, 0.8, 3.0), (12.0, -7.0, 90.0), rotation)
    write_labels(labels, tmp_path / f"Läber 1{kind}")
    back = read_labels(tmp_path / f"Läber 1{kind}")
    assert back.voxels.dtype == np.uint8
    np.testing.assert_array_equal(back.voxels, labels.voxels)
    np.testing.assert_allclose(back.corners(), labels.corners(), atol=1e-3)
    assert [p.name for p in tmp_path.iterdir()] == [f"Läber 1{kind}"]


def test_a_segmentation_keeps_names_colours_and_terminology(tmp_path):
    terms = "Segmentation category and type~SCT^123037004^Anatomical Structure~SCT^10200004^Liver"
    segments = {1: Segment("Leber, grün", BLUE, terms), 300: Segment("spleen", RED)}
    voxels = balls().astype(np.uint16)
    voxels[voxels == 2] = 300
    labels = Volume(voxels, (1, 1, 3), segments=segments)
    write_labels(labels, tmp_path / "a.seg.nrrd")
    back = read_labels(tmp_path / "a.seg.nrrd")
    assert back.voxels.dtype == np.uint16
    np.testing.assert_array_equal(back.voxels, voxels)
    assert dict(back.segments) == segments


def test_a_segmentation_has_the_header_that_slicer_writes(tmp_path):
    labels = Volume(balls(), (1, 1, 3), segments={2: Segment("spleen", RED)})
    write_labels(labels, tmp_path / "a.seg.nrrd", names={1: "liver"})
    header = (tmp_path / "a.seg.nrrd").read_bytes().split(b"\n\n")[0].decode("utf-8")
    lines = header.splitlines()
    assert lines[0] == "NRRD0004"
    for line in (
        "space: left-posterior-superior",
        "kinds: domain domain domain",
        "type: unsigned char",
        "encoding: gzip",
        "Segmentation_ContainedRepresentationNames:=Binary labelmap|",
        "Segmentation_MasterRepresentation:=Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset:=0 0 0",
        "Segment0_ID:=Segment_1",
        "Segment0_Name:=liver",
        "Segment0_LabelValue:=1",
        "Segment0_Layer:=0",
        "Segment0_Extent:=5 23 5 23 2 10",
        "Segment1_Name:=spleen",
        "Segment1_Color:=1 0 0",
        "Segment1_LabelValue:=2",
    ):
        assert line in lines
    assert any(line.startswith("Segment1_Tags:=") for line in lines)


def slicer_file(path, layers: np.ndarray, segments: list[dict], **header) -> None:
    """A segmentation as Slicer writes it: (k, j, i) or layers (k, j, i, layer)."""
    image = sitk.GetImageFromArray(layers, isVector=layers.ndim == 4)
    image.SetSpacing((1, 1, 3))
    for number, segment in enumerate(segments):
        for key, text in segment.items():
            image.SetMetaData(f"Segment{number}_{key}", text)
    image.SetMetaData("Segmentation_MasterRepresentation", "Binary labelmap")
    for key, text in header.items():
        image.SetMetaData(key, text)
    sitk.WriteImage(image, str(path), useCompression=True)


def segment(name, value, layer=0, colour="0.5 0.25 1") -> dict:
    return {
        "ID": f"Segment_{name}",
        "Name": name,
        "Color": colour,
        "LabelValue": str(value),
        "Layer": str(layer),
        "Extent": "0 39 0 39 0 11",
        "Tags": f"Segmentation.Status:inprogress|TerminologyEntry:type of {name}|",
    }


def test_layers_of_overlapping_segments_are_laid_on_each_other(tmp_path):
    labels = balls()
    lower, upper = (labels == 1).astype(np.uint8), np.zeros_like(labels)
    upper[5:8, 10:20, 10:20] = 1
    layers = np.stack((lower + 2 * (labels == 2), upper), axis=-1)
    parts = [segment("liver", 1, 0, "1 0 0"), segment("tumour", 1, 1), segment("spleen", 2, 0)]
    slicer_file(tmp_path / "s.seg.nrrd", layers, parts)
    read = read_labels(tmp_path / "s.seg.nrrd")
    assert {v: s.name for v, s in read.segments.items()} == {1: "liver", 2: "tumour", 3: "spleen"}
    assert read.segments[1].colour == RED
    assert read.segments[2].terminology == "type of tumour"
    np.testing.assert_array_equal(read.voxels == 2, upper > 0)
    np.testing.assert_array_equal(read.voxels == 1, (lower > 0) & (upper == 0))
    np.testing.assert_array_equal(read.voxels == 3, labels == 2)
    assert "overlap" in read.notes[0] and str(np.count_nonzero(upper & lower)) in read.notes[0]


def test_one_layer_keeps_its_values_and_drops_what_is_no_segment(tmp_path):
    labels = balls()
    labels[0, 0, 0] = 9
    slicer_file(tmp_path / "s.nrrd", labels, [segment("spleen", 2), segment("liver", 1)])
    read = read_labels(tmp_path / "s.nrrd")
    assert {v: s.name for v, s in read.segments.items()} == {1: "liver", 2: "spleen"}
    assert present_labels(read.voxels) == [1, 2]


def test_a_damaged_segment_is_refused(tmp_path):
    slicer_file(tmp_path / "a.seg.nrrd", balls(), [{**segment("liver", 1), "Color": "red"}])
    refused(tmp_path / "a.seg.nrrd", "damaged header")
    slicer_file(tmp_path / "b.seg.nrrd", balls(), [segment("liver", 1, layer=3)])
    refused(tmp_path / "b.seg.nrrd", "liver has a damaged header")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 1.0, 7.0], [0, 1, 7]),
        ([0.0, 0.4, 0.6], [0, 0, 1]),
        ([np.nan, 2.0, 0.0], [0, 2, 0]),
        ([0, 65535, 3], [0, 65535, 3]),
        ([0.0, 2.0004, 5.0], [0, 2, 5]),
    ],
)
def test_values_that_are_taken(values, expected):
    labels = whole_numbers(np.array([[values]]), "mask.nii")
    assert labels.dtype == (np.uint16 if max(expected) > 255 else np.uint8)
    np.testing.assert_array_equal(labels, [[expected]])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, -1, 1], "negative label -1"),
        ([0.0, 1.5, 2.0], "holds fractions"),
        ([0, 70000, 1], "label 70000"),
        ([-0.5, 0.2, 0.3], "holds fractions"),
    ],
)
def test_values_that_are_refused(tmp_path, values, message):
    voxels = np.array([[values]], np.float64 if isinstance(values[1], float) else np.int32)
    write_volume(Volume(voxels), tmp_path / "mask.nrrd")
    refused(tmp_path / "mask.nrrd", rf"^mask\.nrrd: .*{message}")


def test_files_that_hold_no_labels(tmp_path):
    refused(tmp_path / "none.nii.gz", "no such file")
    refused(tmp_path, "holds neither a DICOM SEG nor an RTSTRUCT")
    sitk.WriteImage(sitk.GetImageFromArray(balls()[6]), str(tmp_path / "m.jpg"))
    refused(tmp_path / "m.jpg", "JPG changes colours")
    frames = np.stack((balls(), balls()))
    sitk.WriteImage(sitk.GetImageFromArray(frames, isVector=False), str(tmp_path / "t.nii.gz"))
    refused(tmp_path / "t.nii.gz", "2 frames")
    noise = np.random.default_rng(0).integers(0, 255, (30, 30, 3)).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(noise, isVector=True), str(tmp_path / "p.png"))
    refused(tmp_path / "p.png", r"p\.png: has \d+ colours, so it is no mask")


def colour_mask(path, *colours) -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    for n, colour in enumerate(colours):
        pixels[4 : 4 + 10, 2 + 8 * n : 8 + 8 * n] = colour
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=True), str(path))


def test_each_colour_of_a_picture_is_a_label(tmp_path):
    colour_mask(tmp_path / "m.png", (128, 0, 0), (0, 128, 0))
    labels = read_labels(tmp_path / "m.png")
    assert labels.shape == (1, 20, 30)
    assert present_labels(labels.voxels) == [1, 2]
    np.testing.assert_allclose(labels.segments[1].colour, (0, 128 / 255, 0))
    np.testing.assert_allclose(labels.segments[2].colour, (128 / 255, 0, 0))
    assert labels.segments[2].name == "#800000"
    assert (labels.voxels[0, 4:14, 2:8] == 2).all() and labels.voxels[0, 0, 0] == 0


def test_known_colours_keep_their_labels_whatever_else_is_there(tmp_path):
    known = {
        5: Segment("nerve", (128 / 255, 0.0, 0.0)),
        6: Segment("vessel", (0.0, 128 / 255, 0.0)),
    }
    colour_mask(tmp_path / "a.png", (128, 0, 0))
    colour_mask(tmp_path / "b.png", (10, 20, 30), (128, 0, 0), (0, 128, 0))
    first = read_labels(tmp_path / "a.png", segments=known)
    assert present_labels(first.voxels) == [5]
    assert first.segments[5].name == "nerve"
    second = read_labels(tmp_path / "b.png", segments=known)
    assert present_labels(second.voxels) == [1, 5, 6]
    assert second.segments[1].name == "#0a141e"


def test_grey_masks_of_0_and_255_are_label_1_and_others_are_values(tmp_path):
    for values, expected in (((255,), [1]), ((1, 2), [1, 2]), ((100, 255), [100, 255])):
        pixels = np.zeros((20, 30), np.uint8)
        for n, value in enumerate(values):
            pixels[5:9, 8 * n : 8 * n + 4] = value
        sitk.WriteImage(sitk.GetImageFromArray(pixels), str(tmp_path / "g.png"))
        assert present_labels(read_labels(tmp_path / "g.png").voxels) == expected


def test_a_palette_png_has_its_colours(tmp_path):
    from PIL import Image

    picture = Image.fromarray(balls()[6]).convert("P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    picture.save(tmp_path / "p.png")
    labels = read_labels(tmp_path / "p.png")
    assert sorted(s.colour for s in labels.segments.values()) == [(0, 0, 1), (1, 0, 0)]
    np.testing.assert_array_equal(labels.voxels[0] > 0, balls()[6] > 0)


def test_a_picture_mask_takes_the_place_of_a_one_slice_volume(tmp_path):
    image = Volume(np.zeros((1, 20, 30)), (0.3, 0.3, 2.0), (7.0, 8.0, 9.0))
    colour_mask(tmp_path / "m.png", (128, 0, 0))
    labels = read_labels(tmp_path / "m.png", like=image)
    assert labels.same_grid(image)
    assert np.count_nonzero(labels.voxels) == 60


def test_png_round_trip_with_and_without_colours(tmp_path):
    voxels = balls()[6:7]
    coloured = Volume(voxels, segments={1: Segment("a", RED), 2: Segment("b", (0, 0, 1))})
    write_labels(coloured, tmp_path / "c.png")
    back = read_labels(tmp_path / "c.png", segments=coloured.segments)
    np.testing.assert_array_equal(back.voxels, voxels)
    write_labels(Volume(voxels), tmp_path / "g.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "g.png").voxels, voxels)
    with pytest.raises(InputError, match="one slice"):
        write_labels(Volume(balls()), tmp_path / "many.png")


def test_real_colour_masks(shared_data):
    for path in sorted((shared_data / "ultrasound_2d" / "masks").glob("*.png")):
        image = read_volume(shared_data / "ultrasound_2d" / "images" / path.name)
        labels = read_labels(path, like=image)
        assert labels.same_grid(image)
        names = {segment.name for segment in labels.segments.values()}
        assert names <= {"#800000", "#008000"} and names
        assert present_labels(labels.voxels) == sorted(labels.segments)


directions = st.tuples(*[st.floats(-180, 180)] * 3).map(
    lambda angles: Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(directions, st.tuples(*[st.floats(0.4, 0.8)] * 3))
def test_labels_move_to_another_grid_by_their_place_in_space(direction, spacing):
    source = Volume(balls(), (1.0, 1.0, 3.0), (5.0, -9.0, 40.0))
    centre = source.index_to_world((np.array(source.size) - 1) / 2)
    size = np.ceil(60 / np.array(spacing)).astype(int)
    origin = centre - direction @ ((size - 1) / 2 * spacing)
    like = Volume(np.zeros(size[::-1], np.uint8), spacing, tuple(origin), direction)
    moved = resample_labels(source, like)
    assert moved.same_grid(like)
    for value in (1, 2):
        here, there = np.argwhere(source.voxels == value), np.argwhere(moved.voxels == value)
        np.testing.assert_allclose(
            moved.index_to_world(there[:, ::-1]).mean(axis=0),
            source.index_to_world(here[:, ::-1]).mean(axis=0),
            atol=0.5,
        )
        assert len(there) * np.prod(spacing) == pytest.approx(len(here) * 3.0, rel=0.1)
    back = resample_labels(moved, source)
    assert np.mean(back.voxels[source.voxels > 0] == source.voxels[source.voxels > 0]) > 0.9


@pytest.mark.parametrize("axes", ["LPS", "RAS", "PIR", "SLA"])
def test_labels_stored_in_another_axis_order_fit_exactly(tmp_path, axes):
    image = Volume(np.random.default_rng(0).normal(size=(12, 40, 40)), (1, 1, 3), (5, 6, 7))
    labels = Volume(balls(), image.spacing, image.origin)
    sitk.WriteImage(sitk.DICOMOrient(labels.to_sitk(), axes), str(tmp_path / "l.nii.gz"))
    read = read_labels(tmp_path / "l.nii.gz", like=image)
    np.testing.assert_array_equal(read.voxels, labels.voxels)
    assert read.same_grid(image)


def test_a_cropped_segmentation_lies_where_it_was_drawn(tmp_path):
    image = Volume(np.zeros((12, 40, 40)), (1, 1, 3), (5, 6, 7))
    cropped = Volume(
        balls()[4:9, 3:30, 2:38], image.spacing, tuple(image.index_to_world((2, 3, 4)))
    )
    write_labels(cropped, tmp_path / "l.seg.nrrd")
    expected = np.zeros_like(balls())
    expected[4:9, 3:30, 2:38] = cropped.voxels
    np.testing.assert_array_equal(read_labels(tmp_path / "l.seg.nrrd", like=image).voxels, expected)


def test_a_thin_drawing_is_not_lost_on_a_coarser_grid():
    fine = Volume(np.zeros((40, 40, 40), np.uint8))
    fine.voxels[18, 10:20, 10:20] = 3
    coarse = Volume(np.zeros((5, 40, 40), np.uint8), (1, 1, 8), (0, 0, 3.5))
    moved = resample_labels(fine, coarse)
    assert present_labels(moved.voxels) == [3]
    np.testing.assert_array_equal(np.argwhere(moved.voxels)[:, 0], 2)
    assert np.count_nonzero(moved.voxels) == 100


def test_labels_elsewhere_are_refused_and_partly_outside_ones_noted():
    image = Volume(np.zeros((12, 40, 40)), (1, 1, 3), name="ct.nrrd")
    labels = Volume(balls(), (1, 1, 3), (500, 0, 0), name="mask.nrrd")
    with pytest.raises(InputError, match=r"mask\.nrrd: nothing of it is drawn within ct\.nrrd"):
        resample_labels(labels, image)
    shifted = resample_labels(replace(labels, origin=(-14.5, 0, 0)), image)
    assert "% of the labelled voxels lie outside of the image" in shifted.notes[0]
    empty = labels.with_voxels(np.zeros_like(labels.voxels))
    assert not resample_labels(empty, image).voxels.any()


def test_images_are_resampled_linearly():
    grid = Volume(np.indices((8, 8, 8))[2].astype(np.int16), modality="CT")
    fine = Volume(np.zeros((8, 8, 14)), (0.5, 1, 1), (0.5, 0, 0))
    moved = resample_volume(grid, fine)
    np.testing.assert_allclose(moved.voxels[3, 3, :13], 0.5 + np.arange(13) / 2, atol=1e-5)
    away = resample_volume(grid, replace(fine, origin=(100, 0, 0)))
    assert (away.voxels == -1024).all()


def test_results_with_labels_are_written_too(tmp_path):
    class Result:
        labels = Volume(balls().astype(np.int64))

    write_labels(Result(), tmp_path / "new folder" / "r.nii.gz")
    back = read_labels(tmp_path / "new folder" / "r.nii.gz")
    np.testing.assert_array_equal(back.voxels, balls())


def test_an_output_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "out.nrrd"
    path.write_text("before", encoding="utf-8")
    with pytest.raises(InputError, match="negative"):
        write_labels(Volume(balls().astype(np.int16) - 1), path)
    assert path.read_text(encoding="utf-8") == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["out.nrrd"]
    with pytest.raises(InputError, match=r"cannot write \.stl"):
        write_labels(Volume(balls()), tmp_path / "out.stl")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_labels(Volume(balls()), tmp_path / "file" / "out.nrrd")
    (tmp_path / "folder.nrrd").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_labels(Volume(balls()), tmp_path / "folder.nrrd")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.nrrd", "out.nrrd"]
