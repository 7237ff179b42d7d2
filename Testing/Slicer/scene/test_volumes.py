"""Volumes as the scene holds them: kinds, colours, skew, sequences, bad input."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs slicer-core (pip install slicer-core)")

from FewShotSAMModule.scene.volumes import grid_of, number_of_items, read_volume_node
from scene_nodes import (
    add_bend,
    add_transform,
    add_volume,
    affine,
    centres,
    put_under,
)
from small_volumes import LPS, PLACE, SIZE, voxels

from FewShotSAMLib import InputError


def test_voxels_are_not_copied(scene):
    from slicer.util import arrayFromVolume

    node = add_volume(scene, voxels(), PLACE, name="Bäuche")
    volume = read_volume_node(node)
    assert np.shares_memory(volume.voxels, arrayFromVolume(node))
    assert volume.name == "Bäuche"
    np.testing.assert_array_equal(grid_of(node).affine, volume.affine)
    assert grid_of(node).shape == SIZE


def test_the_modality_is_what_a_file_would_tell(scene):
    assert read_volume_node(add_volume(scene, voxels())).modality == "MR"
    node = add_volume(scene, (voxels() * 20 - 1000).astype(np.int16))
    node.SetAttribute("DICOM.Modality", "PT")
    assert read_volume_node(node).modality == "other"
    hierarchy = scene.GetSubjectHierarchyNode()
    units = (voxels() * 20 - 1000).astype(np.int16)
    node = add_volume(scene, units)
    series = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
    hierarchy.SetItemAttribute(series, "DICOM.Modality", "CT")
    assert read_volume_node(node).modality == "CT"
    stored = add_volume(scene, (voxels() * 30).astype(np.int16))  # without their intercept
    stored.SetAttribute("DICOM.Modality", "CT")
    seen = read_volume_node(stored)
    assert seen.modality == "other" and "no Hounsfield units" in seen.notes[-1]
    import slicer

    entry = slicer.vtkCodedEntry()
    entry.SetValueSchemeMeaning("[hnsf'U]", "UCUM", "Hounsfield unit")
    node = add_volume(scene, units)
    node.SetVoxelValueUnits(entry)
    assert read_volume_node(node).modality == "CT"


def test_colours(scene):
    colours = np.random.default_rng(1).integers(0, 255, (1, 8, 10, 3)).astype(np.uint8)
    volume = read_volume_node(add_volume(scene, colours, PLACE, kind="Vector"))
    assert volume.modality == "RGB"
    np.testing.assert_array_equal(volume.voxels, colours)
    with_alpha = np.concatenate([colours, np.full((1, 8, 10, 1), 255, np.uint8)], axis=3)
    volume = read_volume_node(add_volume(scene, with_alpha, PLACE, kind="Vector"))
    np.testing.assert_array_equal(volume.voxels, colours)
    grey = np.repeat(colours[..., :1], 3, axis=3)
    volume = read_volume_node(add_volume(scene, grey, PLACE, kind="Vector"))
    np.testing.assert_array_equal(volume.voxels, colours[..., 0])


def test_a_skewed_transform_is_kept_exactly_and_noted(scene):
    skew = np.eye(4)
    skew[0, 2] = 0.2
    scaled = np.diag([2.0, 0.5, 3.0, 1.0])
    move = add_transform(scene, skew @ scaled)
    volume = read_volume_node(add_volume(scene, voxels(), PLACE, move))
    index = np.argwhere(np.ones(SIZE, bool))[:, ::-1]
    expected = centres(np.ones(SIZE, bool), skew @ scaled @ PLACE)
    found = volume.index_to_world(index) * LPS
    np.testing.assert_allclose(found[np.lexsort(np.round(found, 3).T)], expected, atol=1e-9)
    assert "skewed by 11 degrees" in volume.notes[0]


def test_volumes_that_cannot_be_used_are_refused_in_one_line(scene):
    import slicer

    add = scene.AddNewNodeByClass
    skew = np.eye(4)
    skew[0, 1] = 0.9
    cases = {
        "holds no voxels": add("vtkMRMLScalarVolumeNode", "empty"),
        "is a label map": add_volume(scene, voxels(), kind="LabelMap"),
        "is not a volume": add("vtkMRMLSegmentationNode", "seg"),
        "all voxels have the value": add_volume(scene, np.full(SIZE, 7, np.int16)),
        "has 2 components": add_volume(scene, np.ones((4, 4, 4, 2), np.uint8), kind="Vector"),
        "components of float": add_volume(
            scene, np.random.default_rng(0).random((4, 4, 4, 3)).astype(np.float32), kind="Vector"
        ),
        "bends it; harden": put_under(add_volume(scene, voxels(), name="v"), add_bend(scene)),
        "degenerate transform": add_volume(
            scene, voxels(), None, add_transform(scene, np.diag([1.0, 0, 1, 1]))
        ),
        "skewed by": add_volume(scene, voxels(), None, add_transform(scene, skew)),
    }
    for text, node in cases.items():
        with pytest.raises(InputError, match=text) as error:
            read_volume_node(node)
        assert "\n" not in str(error.value)
    assert slicer.mrmlScene is scene


def test_a_sequence_is_read_item_by_item(scene):
    import slicer

    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "4D")
    single = add_volume(scene, voxels(0), PLACE, name="frame")
    for n in range(3):
        slicer.util.updateVolumeFromArray(single, voxels(n))
        sequence.SetDataNodeAtValue(single, str(n))
    scene.RemoveNode(single)
    with pytest.raises(InputError, match="choose an item, 0 to 2"):
        read_volume_node(sequence)
    np.testing.assert_array_equal(read_volume_node(sequence, 1).voxels, voxels(1))
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    logic = slicer.modules.sequences.logic()
    browser.SetSelectedItemNumber(2)
    logic.UpdateProxyNodesFromSequences(browser)
    proxy = browser.GetProxyNode(sequence)
    move = add_transform(scene, affine(origin=(100, 0, 0)))
    proxy.SetAndObserveTransformNodeID(move.GetID())
    assert number_of_items(proxy) == number_of_items(sequence) == 3
    np.testing.assert_array_equal(read_volume_node(proxy).voxels, voxels(2))
    for n in range(3):
        volume = read_volume_node(proxy, n)
        np.testing.assert_array_equal(volume.voxels, voxels(n))
        np.testing.assert_allclose(volume.origin, np.array([110, -20, 30]) * LPS)
    with pytest.raises(InputError, match="has no item 3; its items are 0 to 2"):
        read_volume_node(proxy, 3)
    plain = add_volume(scene, voxels())
    assert number_of_items(plain) == 1
    with pytest.raises(InputError, match="is no sequence"):
        read_volume_node(plain, 1)
