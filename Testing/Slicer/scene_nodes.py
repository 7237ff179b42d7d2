"""Nodes for the tests, placed by matrices that are written down independently of the module."""

from __future__ import annotations

import numpy as np


def new_application():
    """The application logic of an empty scene, and the module logics that nodes need by name."""
    import slicer

    scene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    logics = {}
    for name, kind in (
        ("colors", slicer.vtkSlicerColorLogic),
        ("volumes", slicer.vtkSlicerVolumesLogic),
        ("segmentations", slicer.vtkSlicerSegmentationsModuleLogic),
        ("markups", slicer.vtkSlicerMarkupsLogic),
        ("sequences", slicer.vtkSlicerSequencesLogic),
    ):
        logic = kind()
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(scene)
        application.SetModuleLogic(name.capitalize(), logic)
        logics[name] = logic
    return application, logics


def rotation(x, y, z):
    """3x3, turning by angles in radians about the axes, x first."""
    cx, sx, cy, sy, cz, sz = np.cos(x), np.sin(x), np.cos(y), np.sin(y), np.cos(z), np.sin(z)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def affine(spacing=(1, 1, 1), origin=(0, 0, 0), turned=(0, 0, 0), order=(0, 1, 2), signs=(1, 1, 1)):
    """4x4, voxel (i, j, k, 1) -> RAS: flips (``signs``), permuted axes, then a rotation."""
    matrix = np.eye(4)
    axes = np.eye(3)[:, list(order)] * signs
    matrix[:3, :3] = rotation(*turned) @ axes * spacing
    matrix[:3, 3] = origin
    return matrix


def to_vtk(matrix):
    import vtk

    result = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            result.SetElement(row, column, matrix[row][column])
    return result


def add_transform(scene, matrix, parent=None, name="moved"):
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(to_vtk(matrix))
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


def add_bend(scene, name="bent"):
    """A transform that is not linear."""
    import vtk

    spline = vtk.vtkThinPlateSplineTransform()
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for n, point in enumerate(np.ndindex(2, 2, 2)):
        source.InsertNextPoint([10.0 * c for c in point])
        target.InsertNextPoint([10.0 * c + (n == 7) * 5 for c in point])
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    spline.SetBasisToR()
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", name)
    node.SetAndObserveTransformToParent(spline)
    return node


def put_under(node, transform):
    if transform is not None:
        node.SetAndObserveTransformNodeID(transform.GetID())
    return node


def add_volume(scene, voxels, matrix=None, transform=None, name="volume", kind="Scalar"):
    from slicer.util import updateVolumeFromArray

    node = scene.AddNewNodeByClass(f"vtkMRML{kind}VolumeNode", name)
    updateVolumeFromArray(node, voxels)
    node.SetIJKToRASMatrix(to_vtk(np.eye(4) if matrix is None else matrix))
    return put_under(node, transform)


def oriented_image(voxels, matrix, first=(0, 0, 0)):
    import slicer
    from vtk.util.numpy_support import numpy_to_vtk

    image = slicer.vtkOrientedImageData()
    i, j, k = first
    size = voxels.shape[::-1]
    image.SetExtent(i, i + size[0] - 1, j, j + size[1] - 1, k, k + size[2] - 1)
    image.SetImageToWorldMatrix(to_vtk(matrix))
    image.GetPointData().SetScalars(numpy_to_vtk(voxels.ravel().copy(), deep=True))
    return image


def add_segmentation(scene, layers, transform=None, name="segmentation"):
    """A segmentation of layers (voxels, matrix, first, {segment id: (value, name)}), each of them
    a label map that its segments share."""
    import slicer

    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    for voxels, matrix, first, segments in layers:
        image = oriented_image(voxels, matrix, first)
        for segment_id, (value, segment_name) in segments.items():
            segment = slicer.vtkSegment()
            segment.SetName(segment_name)
            segment.SetColor(0.1 * value, 0.5, 0.25)
            segment.SetLabelValue(value)
            segment.AddRepresentation("Binary labelmap", image)
            assert node.GetSegmentation().AddSegment(segment, segment_id)
    return put_under(node, transform)


def segment_mask(node, segment_id):
    """A segment's voxels (k, j, i) as the node holds them, and their matrix: array index
    (i, j, k, 1) -> RAS of the world."""
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    segment = node.GetSegmentation().GetSegment(segment_id)
    image = segment.GetRepresentation("Binary labelmap")
    if image is None or image.GetPointData().GetScalars() is None:
        return np.zeros((0, 0, 0), bool), np.eye(4)
    values = vtk_to_numpy(image.GetPointData().GetScalars())
    mask = values.reshape(image.GetDimensions()[::-1]) == segment.GetLabelValue()
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    local = np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])
    first = np.eye(4)
    first[:3, 3] = image.GetExtent()[::2]
    return mask, world_matrix(node) @ local @ first


def world_matrix(node):
    """4x4, of a node's parent transforms, walked up one by one."""
    import vtk

    result = np.eye(4)
    parent = node.GetParentTransformNode()
    while parent is not None:
        matrix = vtk.vtkMatrix4x4()
        parent.GetMatrixTransformToParent(matrix)
        step = np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])
        result = step @ result
        parent = parent.GetParentTransformNode()
    return result


def centres(mask, matrix):
    """RAS millimetres (n, 3) of the voxels of a mask (k, j, i), sorted."""
    index = np.argwhere(mask)[:, ::-1]
    points = index @ matrix[:3, :3].T + matrix[:3, 3]
    return points[np.lexsort(np.round(points, 3).T)]


def values_at(node, points):
    """What Slicer itself finds at RAS points of the world: for each, the ids of the segments
    there. Uses the node's own transform chain and VTK's index arithmetic."""
    import vtk

    found = []
    for point in points:
        local = list(point)
        if (parent := node.GetParentTransformNode()) is not None:
            general = vtk.vtkGeneralTransform()
            parent.GetTransformFromWorld(general)
            local = list(general.TransformPoint(local))
        here = set()
        for segment_id in node.GetSegmentation().GetSegmentIDs():
            segment = node.GetSegmentation().GetSegment(segment_id)
            image = segment.GetRepresentation("Binary labelmap")
            if image is None:
                continue
            matrix = vtk.vtkMatrix4x4()
            image.GetWorldToImageMatrix(matrix)
            index = [round(value) for value in matrix.MultiplyPoint([*local, 1.0])[:3]]
            extent = image.GetExtent()
            if all(extent[2 * n] <= index[n] <= extent[2 * n + 1] for n in range(3)):
                value = image.GetScalarComponentAsDouble(*index, 0)
                if value == segment.GetLabelValue():
                    here.add(segment_id)
        found.append(here)
    return found
