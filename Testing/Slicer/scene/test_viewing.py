"""Which slice a view shows and the way to another, for volumes that lie in any way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

import vtk  # noqa: E402
from FewShotSAMModule.scene.placement import to_array, to_matrix  # noqa: E402
from FewShotSAMModule.scene.viewing import (  # noqa: E402
    array_axis,
    show_slice,
    slice_shown,
    view_of,
)

SIZE = (9, 7, 5)  # i, j, k


def views(scene):
    """The three usual views."""
    nodes = []
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
    for name in ("Axial", "Coronal", "Sagittal"):
        node = scene.AddNewNodeByClass("vtkMRMLSliceNode", name)
        node.SetOrientation(name)
        nodes.append(node)
    return nodes


def volume(scene, ijk_to_ras):
    image = vtk.vtkImageData()
    image.SetDimensions(*SIZE)
    image.AllocateScalars(vtk.VTK_SHORT, 1)
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(to_matrix(ijk_to_ras))
    return node


def rotation(axis, degrees):
    turned = vtk.vtkTransform()
    turned.RotateWXYZ(degrees, *axis)
    return to_array(turned.GetMatrix())


def placed(columns, spacing, origin):
    """IJK to RAS with its axes along columns of RAS such as "LPS"."""
    matrix = np.eye(4)
    for n, letter in enumerate(columns):
        axis = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}[letter]
        matrix[:3, n] = 0
        matrix[axis, n] = spacing[n] * (1 if letter in "RAS" else -1)
    matrix[:3, 3] = origin
    return matrix


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ("LPS", {"axial": 0, "coronal": 1, "sagittal": 2}),
        ("RAI", {"axial": 0, "coronal": 1, "sagittal": 2}),
        ("LSP", {"axial": 1, "coronal": 0, "sagittal": 2}),
        ("PIL", {"axial": 1, "coronal": 2, "sagittal": 0}),
    ],
)
def test_words_for_axes_follow_the_patient(columns, expected):
    scene = slicer.vtkMRMLScene()
    node = volume(scene, placed(columns, (1, 2, 3), (5, 6, 7)))
    nodes = dict(zip(("axial", "coronal", "sagittal"), views(scene)))
    for word, axis in expected.items():
        assert array_axis(node, word) == axis
        assert view_of(node, axis, nodes.values()) is nodes[word]


def test_a_view_turned_too_far_shows_no_slice():
    scene = slicer.vtkMRMLScene()
    node = volume(scene, placed("LPS", (1, 1, 1), (0, 0, 0)))
    axial, *_ = views(scene)
    axial.GetSliceToRAS().DeepCopy(to_matrix(rotation((1, 0, 0), 40)))
    axial.UpdateMatrices()
    assert view_of(node, 0, [axial]) is axial
    axial.GetSliceToRAS().DeepCopy(to_matrix(rotation((1, 0, 0), 50)))
    axial.UpdateMatrices()
    assert view_of(node, 0, [axial]) is None


degrees = st.floats(-30, 30)


@settings(max_examples=60, deadline=None)
@given(
    columns=st.sampled_from(["LPS", "RAS", "RAI", "LSP", "SPL", "PIL", "AIR"]),
    spacing=st.tuples(*[st.floats(0.3, 6.0)] * 3),
    turn=st.tuples(degrees, degrees),
    view_turn=degrees,
    moved=st.tuples(*[st.floats(-80, 80)] * 3),
    axis=st.integers(0, 2),
    data=st.data(),
)
def test_shown_slice_is_the_one_gone_to(columns, spacing, turn, view_turn, moved, axis, data):
    index = data.draw(st.integers(0, SIZE[2 - axis] - 1))
    scene = slicer.vtkMRMLScene()
    oblique = rotation((1, 2, 3), turn[0]) @ placed(columns, spacing, (-12.5, 40.0, 3.0))
    node = volume(scene, oblique)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    parent = rotation((3, -1, 1), turn[1])
    parent[:3, 3] = moved
    transform.SetMatrixTransformToParent(to_matrix(parent))
    node.SetAndObserveTransformNodeID(transform.GetID())
    view, *_ = views(scene)
    # A view along the slices, turned a little, somewhere near the volume's middle.
    world = parent @ oblique
    middle = world @ np.append((np.array(SIZE) - 1) / 2, 1.0)
    across = np.cross(*(world[:3, n] for n in range(3) if n != 2 - axis))
    frame = np.linalg.qr(np.column_stack([across, np.eye(3)]))[0]
    matrix = np.eye(4)
    matrix[:3, :3] = np.column_stack([frame[:, 1], frame[:, 2], frame[:, 0]])
    if np.linalg.det(matrix[:3, :3]) < 0:
        matrix[:3, 0] *= -1
    matrix = matrix @ rotation((0, 0, 1), view_turn)
    matrix[:3, 3] = middle[:3] + frame[:, 1]
    view.GetSliceToRAS().DeepCopy(to_matrix(matrix))
    view.UpdateMatrices()
    assert view_of(node, axis, [view]) is view
    show_slice(node, axis, index, view)
    assert slice_shown(node, axis, view) == index
    after = to_array(view.GetSliceToRAS())
    assert np.allclose(after[:3, :3], matrix[:3, :3], atol=1e-6), "the view was turned"
    beside = np.eye(4)
    beside[:3, 3] = 1000.0 * frame[:, 0]
    view.GetSliceToRAS().DeepCopy(to_matrix(beside @ after))
    assert slice_shown(node, axis, view) is None
