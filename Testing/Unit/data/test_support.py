"""Supports: which slices are kept for which label, in one file and back, and whose they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.reading import read_labels, read_volume
from FewShotSAMLib.data.slicing import AXES, extract_slices
from FewShotSAMLib.data.support import Support
from FewShotSAMLib.data.volume import Segment, Volume
from FewShotSAMLib.data.writing import write_labels, write_volume

SHAPE = (24, 40, 36)
SPACING = (1.0, 1.5, 3.0)


def image(dtype=np.int16, seed=0) -> Volume:
    voxels = np.random.default_rng(seed).integers(0, 900, SHAPE).astype(dtype)
    voxels[:, :4] = 0
    return Volume(voxels, SPACING, (-12.0, 30.0, 55.5), modality="MR", name="image.nii.gz")


def drawing(volume: Volume, **slices_of) -> Volume:
    """Boxes of the labels 1, 2 ... on the axial slices given as l1=..., l2=..."""
    voxels = np.zeros(volume.shape, np.uint8)
    for name, slices in slices_of.items():
        value = int(name[1:])
        voxels[list(slices), 10 : 20 + value, 9 * value : 9 * value + 6] = value
    return volume.with_voxels(voxels, name="mask.nii.gz", modality="other")


def refused(match, *arguments, **options) -> None:
    with pytest.raises(InputError, match=match) as error:
        Support.from_labels(*arguments, **options)
    assert "\n" not in str(error.value)


def test_a_support_keeps_the_drawn_slices_and_nothing_else():
    volume = image()
    support = Support.from_labels(volume, drawing(volume, l1=[7]))
    assert support.axis == "axial"
    assert support.slices == (7,) and support.count == 24
    assert support.names == {1: "label_1"}
    assert support.volume.shape == (1, 40, 36)
    np.testing.assert_array_equal(support.volume.voxels[0], volume.voxels[7])
    np.testing.assert_allclose(support.volume.origin, volume.index_to_world((0, 0, 7)))
    assert support.images().shape == (1, 40, 36) and support.images().dtype == np.float32
    assert support.masks(1).sum() == 11 * 6
    assert support.spacing == (1.0, 1.5, 3.0)


@pytest.mark.parametrize("axis", AXES)
def test_every_axis(axis):
    volume = image()
    mask = np.zeros(SHAPE, np.uint8)
    extract_slices(mask, axis)[11, 8:17, 9:19] = 1
    support = Support.from_labels(volume, volume.with_voxels(mask))
    assert support.axis == axis and support.slices == (11,)
    shown = extract_slices(volume.voxels, axis)[11]
    np.testing.assert_allclose(
        support.images()[0],
        np.clip(
            (shown - support.intensity.low)
            / np.ptp((support.intensity.low, support.intensity.high)),
            0,
            1,
        ),
        atol=1e-5,
    )
    np.testing.assert_array_equal(support.masks(1)[0], extract_slices(mask, axis)[11] == 1)


@pytest.mark.parametrize(
    ("choice", "first", "second"),
    [
        ("all", tuple(range(3, 15)), (10, 11, 12)),
        ("middle", (9,), (11,)),
        ("thirds", (5, 9, 13), (10, 11, 12)),
        ((4, 11), (4, 11), (11,)),
        ([12], (12,), (12,)),
    ],
)
def test_slices_are_chosen_for_each_label_by_itself(choice, first, second):
    volume = image()
    labels = drawing(volume, l1=range(3, 15), l2=[10, 11, 12])
    support = Support.from_labels(volume, labels, slices=choice)
    assert support.slices_of(1) == first
    assert support.slices_of(2) == second
    assert support.slices == tuple(sorted({*first, *second}))
    for label in (1, 2):
        positions = support.positions_of(label)
        assert tuple(support.slices[n] for n in positions) == support.slices_of(label)
        assert support.masks(label)[list(positions)].any(axis=(1, 2)).all()


@given(st.integers(1, 60))
def test_thirds_are_the_papers_slices(count):
    volume = Volume(np.random.default_rng(0).normal(size=(64, 12, 12)), (1, 1, 5))
    mask = np.zeros(volume.shape, np.uint8)
    mask[2 : 2 + count, 3:9, 3:9] = 1
    support = Support.from_labels(volume, volume.with_voxels(mask), axis="axial", slices="thirds")
    expected = {2 + int(np.floor(count * part)) for part in (1 / 6 + 1e-12, 1 / 2, 5 / 6 + 1e-12)}
    assert support.slices == tuple(sorted(expected))


def test_largest_takes_the_slice_with_most_of_the_label():
    volume = image()
    labels = drawing(volume, l1=range(3, 15))
    labels.voxels[8, 10:35, 9:20] = 1
    assert Support.from_labels(volume, labels, slices="largest").slices == (8,)


@pytest.mark.parametrize("axes", ["LPS", "RAI", "LAI", "PSR", "SLA"])
def test_slice_numbers_are_those_of_the_file(axes):
    volume = Volume.from_sitk(sitk.DICOMOrient(image().to_sitk(), axes), modality="MR")
    canonical, orientation = volume.canonical()
    source = orientation.permutation[2]
    along = np.moveaxis(np.zeros(volume.shape, np.uint8), 2 - source, 0)
    along[5, 6:20, 6:20] = along[9, 6:20, 6:20] = 1
    labels = volume.with_voxels(np.moveaxis(along, 0, 2 - source))
    support = Support.from_labels(volume, labels, axis="axial", slices=[9])
    there = 9 if not orientation.flips[2] else SHAPE[0] - 1 - 9
    assert support.slices == (there,)
    np.testing.assert_array_equal(support.volume.voxels[0], canonical.voxels[there])
    refused(r"axial slice 7; drawn slices are 5, 9", volume, labels, axis="axial", slices=[9, 7])


def test_names_come_from_the_user_then_the_file_then_the_number():
    volume = image()
    labels = replace(
        drawing(volume, l1=[5], l2=[5], l3=[5]),
        segments={1: Segment("liver", (1, 0, 0)), 2: Segment("spleen", (0, 1, 0), "term")},
    )
    support = Support.from_labels(volume, labels, names={2: "Milz"})
    assert support.names == {1: "liver", 2: "Milz", 3: "label_3"}
    assert support.labels.segments[2] == Segment("Milz", (0, 1, 0), "term")
    colours = {segment.colour for segment in support.labels.segments.values()}
    assert len(colours) == 3


def test_only_the_labels_asked_for_are_kept():
    volume = image()
    labels = drawing(volume, l1=[5], l2=[9], l3=[5])
    support = Support.from_labels(volume, labels, keep_labels=[2])
    assert support.names == {2: "label_2"} and support.slices == (9,)
    assert set(np.unique(support.labels.voxels)) == {0, 2}
    refused("no label 4; it holds 1, 2, 3", volume, labels, keep_labels=[2, 4])
    refused("label 2 is not drawn on", volume, labels, keep_labels=[1, 2], slices=[5])
    chosen = Support.from_labels(volume, labels, slices=[5])
    assert sorted(chosen.names) == [1, 3]
    with pytest.raises(InputError, match="no label 2; it holds 1, 3"):
        chosen.masks(2)


def test_intensity_and_field_are_those_of_the_whole_volume():
    volume = image()
    volume.voxels[20] *= 10
    support = Support.from_labels(volume, drawing(volume, l1=[7]))
    assert support.intensity.high > 2000
    windowed = Support.from_labels(volume, drawing(volume, l1=[7]), window=(0, 450))
    assert (windowed.intensity.low, windowed.intensity.high) == (0, 450)
    assert windowed.images().max() == 1


def test_what_cannot_be_a_support_is_refused():
    volume = image()
    refused("the mask is empty", volume, drawing(volume))
    refused("'diagonal' is unknown", volume, drawing(volume, l1=[5]), axis="diagonal")
    refused("'some' is unknown; use all, middle", volume, drawing(volume, l1=[5]), slices="some")
    refused("nothing is drawn on axial slice 6", volume, drawing(volume, l1=[5]), slices=[6])
    refused("axial slice -19", volume, drawing(volume, l1=[5]), slices=[-19], axis="axial")
    refused("axial slice 99", volume, drawing(volume, l1=[5]), slices=[99], axis="axial")
    refused("no slice was chosen", volume, drawing(volume, l1=[5]), slices=[])
    flat = volume.with_voxels(np.ones(SHAPE))
    refused("all voxels have the value 1", flat, drawing(volume, l1=[5]))
    refused("holds the negative label -1", volume, volume.with_voxels(volume.voxels - 1))
    colour = np.zeros((*SHAPE, 3), np.uint8)
    refused("is a colour image", volume, volume.with_voxels(colour, modality="RGB"))
    away = replace(drawing(volume, l1=[5]), origin=(900.0, 0.0, 0.0))
    refused("nothing of it is drawn within image", volume, away)


def same(a: Support, b: Support) -> bool:
    def grid(volume: Volume) -> tuple:
        return volume.spacing, volume.origin, volume.direction.tolist(), volume.name, volume.notes

    return (
        a.volume.voxels.dtype == b.volume.voxels.dtype
        and np.array_equal(
            a.volume.voxels, b.volume.voxels, equal_nan=a.volume.voxels.dtype.kind == "f"
        )
        and a.labels.voxels.dtype == b.labels.voxels.dtype
        and np.array_equal(a.labels.voxels, b.labels.voxels)
        and (grid(a.volume), grid(a.labels)) == (grid(b.volume), grid(b.labels))
        and a.volume.modality == b.volume.modality
        and dict(a.labels.segments) == dict(b.labels.segments)
        and (a.axis, a.slices, a.drawn, a.count) == (b.axis, b.slices, b.drawn, b.count)
        and (a.intensity, a.field) == (b.intensity, b.field)
    )


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from((np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64, bool)),
    st.sampled_from(AXES),
    st.text(min_size=1, max_size=20).filter(lambda t: t.isprintable()),
    st.sampled_from((2, 300)),
)
def test_a_support_file_brings_the_same_support_back(tmp_path, dtype, axis, name, value):
    volume = image(dtype)
    mask = np.zeros(SHAPE, np.uint16)
    stack = extract_slices(mask, axis)
    stack[[6, 13], 8:17, 9:19] = value
    stack[13, 17:19, 9:19] = 1
    labels = volume.with_voxels(mask, segments={1: Segment(name, (0.1, 0.2, 0.3), 'a "quoted"\\n')})
    support = Support.from_labels(volume, labels, axis=axis)
    support.save(tmp_path / "Stütze 1.nrrd", keep_name=True)
    assert same(Support.load(tmp_path / "Stütze 1.nrrd"), support)


def test_rgb_and_odd_values_survive_the_file(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (1, 30, 40, 3)).astype(np.uint8)
    picture = Volume(pixels, modality="RGB", name="us.png")
    mask = np.zeros((1, 30, 40), np.uint8)
    mask[0, 5:20, 6:30] = 1
    support = Support.from_labels(picture, picture.with_voxels(mask, modality="other"))
    support.save(tmp_path / "p.nrrd", keep_name=True)
    assert same(Support.load(tmp_path / "p.nrrd"), support)
    assert support.images().shape == (1, 30, 40, 3)
    odd = image(np.float32)
    odd.voxels[7, 3, :3] = np.nan, np.inf, 1e-30
    support = Support.from_labels(odd, drawing(odd, l1=[7]))
    support.save(tmp_path / "o.nrrd", keep_name=True)
    assert same(Support.load(tmp_path / "o.nrrd"), support)


def test_a_support_file_is_small(tmp_path):
    volume = image()
    support = Support.from_labels(volume, drawing(volume, l1=range(3, 15)), slices="thirds")
    slices = 3 * 40 * 36 * 3 + 3000
    replace(support, overview=None).save(tmp_path / "slices.nrrd")
    assert (tmp_path / "slices.nrrd").stat().st_size < slices
    support.save(tmp_path / "s.nrrd")  # noise cannot be packed; in text it takes a third more
    assert (tmp_path / "s.nrrd").stat().st_size < slices + support.overview.grey.size * 4 / 3 + 200


def test_other_files_are_no_supports(tmp_path):
    volume = image()
    write_volume(volume, tmp_path / "image.nrrd")
    with pytest.raises(InputError, match=r"image\.nrrd: holds no support"):
        Support.load(tmp_path / "image.nrrd")
    with pytest.raises(InputError, match="no such file"):
        Support.load(tmp_path / "none.nrrd")
    support = Support.from_labels(volume, drawing(volume, l1=[7]))
    with pytest.raises(InputError, match="kept as .nrrd"):
        support.save(tmp_path / "s.nii.gz")
    support.save(tmp_path / "s.nrrd")
    content = (tmp_path / "s.nrrd").read_bytes()
    for old, new, message in (
        (b'"version": 1', b'"version": 9', "made by a later FewShotSAM"),
        (b'"axis": "axial"', b'"axis": "other"', "damaged"),
        (b'"slices": [7]', b'"slices": [8]', "damaged"),
        (b'"count"', b'"cuont"', "damaged"),
    ):
        assert old in content
        (tmp_path / "bad.nrrd").write_bytes(content.replace(old, new))
        with pytest.raises(InputError, match=message) as error:
            Support.load(tmp_path / "bad.nrrd")
        assert "\n" not in str(error.value)


def test_a_support_knows_its_own_volume_in_any_form(tmp_path):
    volume = image()
    support = Support.from_labels(volume, drawing(volume, l1=[7, 12]))
    support.save(tmp_path / "s.nrrd")
    for axes in ("LPS", "RAS", "PIR"):
        turned = sitk.DICOMOrient(volume.to_sitk(), axes)
        sitk.WriteImage(turned, str(tmp_path / f"{axes}.nii.gz"))
        stored = read_volume(tmp_path / f"{axes}.nii.gz")
        assert support.matches(stored)
        assert Support.load(tmp_path / "s.nrrd").matches(stored)
        assert support.matches(stored.with_voxels(stored.voxels.astype(np.float64)))


def test_a_support_knows_what_is_not_its_own_volume():
    volume = image()
    support = Support.from_labels(volume, drawing(volume, l1=[7, 12]))
    assert not support.matches(image(seed=1))
    assert not support.matches(replace(volume, origin=(-12.0, 30.0, 56.5)))
    assert not support.matches(replace(volume, spacing=(1.0, 1.5, 3.1)))
    assert not support.matches(replace(volume, voxels=volume.voxels[:-1]))
    changed = volume.voxels.copy()
    changed[12, 20, 20] += 5
    assert not support.matches(volume.with_voxels(changed))
    elsewhere = volume.voxels.copy()
    elsewhere[13] = 0
    assert support.matches(volume.with_voxels(elsewhere))
    colour = np.repeat(volume.voxels[..., None], 3, axis=-1)
    assert not support.matches(volume.with_voxels(colour, modality="RGB"))


def test_labels_on_another_grid_are_brought_to_the_image(tmp_path):
    volume = image()
    labels = drawing(volume, l1=[7], l2=[7])
    cropped = Volume(
        labels.voxels[6:9, 5:30, 4:30], SPACING, tuple(volume.index_to_world((4, 5, 6)))
    )
    write_labels(cropped, tmp_path / "m.seg.nrrd", names={1: "liver", 2: "spleen"})
    read = read_labels(tmp_path / "m.seg.nrrd")
    direct, moved = Support.from_labels(volume, labels), Support.from_labels(volume, read)
    np.testing.assert_array_equal(direct.labels.voxels, moved.labels.voxels)
    assert moved.names == {1: "liver", 2: "spleen"}


def test_real_volumes(shared_data, tmp_path):
    folder = shared_data / "abdomen_mr"
    volume = read_volume(folder / "image_3.nii.gz")
    labels = read_labels(folder / "label_3.nii.gz", like=volume)
    support = Support.from_labels(volume, labels, slices="middle")
    assert support.axis == "axial" and sorted(support.names) == [1, 2, 3, 4]
    support.save(tmp_path / "s.nrrd", keep_name=True)
    loaded = Support.load(tmp_path / "s.nrrd")
    assert same(loaded, support)
    assert loaded.matches(read_volume(folder / "image_3.nii.gz"))
    assert not loaded.matches(read_volume(folder / "image_5.nii.gz"))
    canonical, orientation = labels.canonical()
    for label in support.names:
        for n, index in zip(support.positions_of(label), support.slices_of(label)):
            np.testing.assert_array_equal(support.masks(label)[n], canonical.voxels[index] == label)
