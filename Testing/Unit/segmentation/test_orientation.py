"""The same patient stored otherwise gives the same segmentation in patient space."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from small_abdomens import LIVER, STRATEGIES, marked

from FewShotSAMLib.data.resampling import resample_labels, resample_volume
from FewShotSAMLib.data.support import Support
from FewShotSAMLib.data.volume import Volume
from FewShotSAMLib.evaluation.metrics import dice
from FewShotSAMLib.phantom.abdomen import Phantom, abdomen

FLAT = {"shape": (6, 56, 64), "spacing": (5.4, 5.8, 33.0)}
CUBE = {"shape": (24, 40, 44), "spacing": (7.8, 8.0, 8.4)}
ORDERS = list(product(permutations(range(3)), product((False, True), repeat=3)))


@pytest.fixture(scope="module")
def patient() -> Phantom:
    return abdomen(**FLAT)


@pytest.fixture(scope="module")
def cube() -> Phantom:
    return abdomen(**CUBE)


def stored(volume: Volume, order: tuple[int, ...], flips: tuple[bool, ...]) -> Volume:
    """The same voxels in the same places, stored with axes i, j, k taken from `order` and
    reversed where `flips` says so."""
    voxels = volume.voxels.transpose([2 - order[2 - n] for n in range(3)])
    voxels = voxels[tuple(slice(None, None, -1 if flips[2 - n] else 1) for n in range(3))]
    corner = np.zeros(3)
    for n in range(3):
        corner[order[n]] = volume.size[order[n]] - 1 if flips[n] else 0
    signs = np.where(flips, -1.0, 1.0)
    return Volume(
        np.ascontiguousarray(voxels),
        tuple(volume.spacing[a] for a in order),
        tuple(volume.index_to_world(corner)),
        volume.direction[:, list(order)] * signs,
        volume.modality, volume.name, volume.segments,
    )  # fmt: skip


def support_of(image: Volume, labels: Volume, axis: str = "auto") -> Support:
    return Support.from_labels(image, labels, axis=axis, keep_labels=[LIVER])


def in_canonical(labels: Volume) -> np.ndarray:
    return labels.canonical()[0].voxels


@given(way=st.sampled_from(ORDERS))
@settings(max_examples=48, deadline=None)
def test_stored_otherwise_is_the_same_in_patient_space(way):
    """The test's own tool: every voxel's value is found at the same millimetres."""
    random = np.random.default_rng(1)
    turn = Rotation.random(random_state=2).as_matrix()
    image = Volume(random.random((3, 8, 10)), (1.5, 2.0, 7.0), (9.0, -4.0, 2.0), turn)
    other = stored(image, *way)
    for index in random.integers(0, image.size, (20, 3)):
        i, j, k = np.rint(other.world_to_index(image.index_to_world(index))).astype(int)
        assert other.voxels[k, j, i] == image.voxels[index[2], index[1], index[0]]


@pytest.fixture(scope="module")
def expected(segmenter, patient) -> dict[str, np.ndarray]:
    """The segmentation of the volume as it comes, by strategy."""
    support = marked(patient, LIVER)
    return {
        strategy: segmenter.segment(patient.image, [support], strategy=strategy).labels.voxels
        for strategy in STRATEGIES
    }


WAYS = [
    ((0, 1, 2), (True, True, False)), ((0, 1, 2), (False, False, True)),
    ((1, 2, 0), (False, True, True)), ((2, 0, 1), (True, False, False)),
    ((2, 1, 0), (True, True, True)), ((1, 0, 2), (False, False, False)),
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_permuted_and_flipped_queries(segmenter, patient, expected, way):
    """Support as it comes, query stored otherwise: the drawing is still recognised."""
    support = marked(patient, LIVER)
    query = stored(patient.image, *way)
    result = segmenter.segment(query, [support])
    assert result.labels.same_grid(query)
    assert np.array_equal(in_canonical(result.labels), expected["propagate"])
    assert sum(s.source == "support" for s in result.slices) == 1


@pytest.mark.parametrize("way", WAYS[1:4])
def test_permuted_and_flipped_supports(segmenter, patient, expected, way):
    """Image and mask stored otherwise, the mask in yet another way than its image."""
    image = stored(patient.image, *way)
    labels = stored(patient.marked(patient.marked_slice()), *WAYS[4])
    support = support_of(image, labels)
    assert support.axis == "axial"
    result = segmenter.segment(patient.image, [support])
    assert np.array_equal(result.labels.voxels, expected["propagate"])


@pytest.mark.parametrize("way", WAYS[2:4])
def test_slices_on_their_own(segmenter, patient, expected, way):
    support = marked(patient, LIVER)
    result = segmenter.segment(stored(patient.image, *way), [support], strategy="slices")
    assert np.array_equal(in_canonical(result.labels), expected["slices"])


def test_another_patients_support(segmenter, patient):
    """Where nothing is drawn on the query, its slices are judged; storage must not matter."""
    other = abdomen(**FLAT, seed=3)
    support = marked(patient, LIVER)
    straight = segmenter.segment(other.image, [support]).labels.voxels
    turned = segmenter.segment(stored(other.image, *WAYS[4]), [support])
    assert (straight == LIVER).any()
    assert np.array_equal(in_canonical(turned.labels), straight)


def test_slice_numbers_are_the_files_own(segmenter, patient):
    """A flipped file counts its slices from the other end: ranges, results and prompts too."""
    index, last = patient.marked_slice(), FLAT["shape"][0] - 1
    support = support_of(patient.image, patient.marked(index), "axial")
    query = stored(patient.image, (0, 1, 2), (False, False, True))
    asked = sorted((last - index, last - index - 1))
    result = segmenter.segment(query, [support], range=tuple(asked))
    assert [s.index for s in result.slices] == asked
    drawn = [s.index for s in result.slices if s.source == "support"]
    assert drawn == [last - index]
    outside = [k for k in range(last + 1) if k not in asked]
    assert not result.labels.voxels[outside].any()
    here, there = (
        segmenter.prompts(volume, [support], number)[LIVER].points
        for volume, number in ((patient.image, index), (query, last - index))
    )
    assert np.array_equal(here, there)


@pytest.mark.parametrize("degrees", [12.0, -25.0])
def test_tilted_volumes(segmenter, patient, expected, degrees):
    """A rotation of the whole patient changes where voxels lie, and nothing else."""
    turn = Rotation.from_euler("xyz", [degrees, degrees / 2, -degrees], degrees=True).as_matrix()

    def turned(volume: Volume) -> Volume:
        return Volume(
            volume.voxels, volume.spacing, tuple(turn @ volume.origin), turn @ volume.direction,
            volume.modality, volume.name, volume.segments,
        )  # fmt: skip

    support = support_of(turned(patient.image), turned(patient.marked(patient.marked_slice())))
    query = stored(turned(patient.image), *WAYS[3])
    result = segmenter.segment(query, [support])
    assert result.labels.same_grid(query)
    assert np.array_equal(in_canonical(result.labels), expected["propagate"])


def drawn_on(phantom: Phantom, axis: str) -> Volume:
    """The liver on one slice of that axis, the one with the largest area."""
    liver = phantom.truth.voxels == LIVER
    n = {"axial": 0, "coronal": 1, "sagittal": 2}[axis]
    areas = liver.sum(axis=tuple({0, 1, 2} - {n}))
    kept = np.zeros(liver.shape, bool)
    place = tuple(int(areas.argmax()) if a == n else slice(None) for a in range(3))
    kept[place] = liver[place]
    return phantom.truth.with_voxels(kept.astype(np.uint8))


@pytest.mark.parametrize("axis", ["sagittal", "coronal"])
def test_supports_on_other_axes(segmenter, cube, axis):
    """The drawn axis is found, the slice stays as drawn, its neighbours follow; and the same
    comes of it when the file is stored otherwise."""
    labels = drawn_on(cube, axis)
    n = {"coronal": 1, "sagittal": 2}[axis]
    place = int(labels.voxels.sum(axis=tuple({0, 1, 2} - {n})).argmax())
    chosen = (place - 3, place + 3)
    support = support_of(cube.image, labels)
    assert support.axis == axis
    result = segmenter.segment(cube.image, [support], range=chosen)
    assert result.axis == axis
    found = np.moveaxis(result.labels.voxels, n, 0)
    truth = np.moveaxis(cube.truth.voxels == LIVER, n, 0)
    assert np.array_equal(found[place], truth[place])
    worked = slice(chosen[0], chosen[1] + 1)
    assert dice(found[worked] > 0, truth[worked]) > 0.75
    assert not np.delete(found, np.r_[worked], axis=0).any()
    order, flips = (2, 0, 1), (False, False, False)
    again = segmenter.segment(
        stored(cube.image, order, flips), [support_of(stored(cube.image, order, flips), labels)],
        range=chosen,
    )  # fmt: skip
    assert np.array_equal(in_canonical(again.labels), result.labels.voxels)


def test_pixels_that_are_no_squares(segmenter, patient):
    """Every other column left out: a support of square pixels serves a query of oblong ones."""
    image = patient.image
    thin = Volume(
        image.voxels[..., ::2], (2 * image.spacing[0], *image.spacing[1:]), image.origin,
        image.direction, "MR",
    )  # fmt: skip
    support = support_of(image, patient.marked(patient.marked_slice()), "axial")
    index = patient.marked_slice()
    result = segmenter.segment(thin, [support], range=(index, index + 1), strategy="slices")
    worked = slice(index, index + 2)
    truth = patient.truth.voxels[worked, :, ::2] == LIVER
    assert dice(result.labels.voxels[worked] > 0, truth) > 0.5
    drawn = support_of(thin, patient.marked(index), "axial")
    result = segmenter.segment(thin, [drawn])
    assert dice(result.labels.voxels > 0, patient.truth.voxels[..., ::2] == LIVER) > 0.75


def test_resampled_obliquely(segmenter, patient):
    """The query on a grid turned in the slices' plane by 10 degrees: nearly the same place."""
    turn = Rotation.from_euler("z", 10, degrees=True).as_matrix()
    image = patient.image
    shape = (FLAT["shape"][0], 68, 72)
    half = (np.array(shape[::-1]) - 1) / 2 * image.spacing
    centre = image.index_to_world((np.array(image.size) - 1) / 2)
    grid = Volume(np.zeros(shape, np.uint8), image.spacing, tuple(centre - turn @ half), turn)
    query = resample_volume(image, grid)
    support = support_of(query, patient.marked(patient.marked_slice()), "axial")
    result = segmenter.segment(query, [support])
    back = resample_labels(result.labels, image)
    assert dice(back.voxels == LIVER, patient.truth.voxels == LIVER) > 0.75


# ---------------------------------------------------------------------------- real files


def test_real_files_in_four_orders(segmenter, shared_data):
    """The accuracy script's measure on four of its files, three slices to each side."""
    path = Path(__file__).resolve().parents[2] / "Accuracy" / "orientation.py"
    spec = spec_from_file_location("orientation", path)
    script = module_from_spec(spec)
    sys.modules[spec.name] = script
    spec.loader.exec_module(script)
    folder = shared_data / "orientation"
    files = [folder / f"{name}.nii.gz" for name in ("LPS", "RSP", "AIL", "SPL")]
    measured = script.measure(files, segmenter, reach=3)
    assert len(measured) == 6
    assert min(one.dice for one in measured) >= 0.95
