"""Volume nodes as library volumes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import numpy as np
import slicer
from slicer.util import arrayFromVolume

from FewShotSAMLib import InputError, Volume

from .placement import local_to_world, placed_volume, volume_affine

# Where a volume's modality may be noted: by the DICOM module on the item in the subject
# hierarchy, and by file readers on the node, under the names that the library reads in files.
_MODALITY_ATTRIBUTES = ("DICOM.Modality", "modality", "Modality", "0008|0060")


def read_volume_node(node: Any, item: int | None = None) -> Volume:
    """The voxels of a volume node with their place in the world.

    Parent transforms are applied, so two nodes that lie on each other in the views have voxels
    at the same millimetres.

    Args:
        node: a scalar or colour volume node (of a sequence: its proxy node), or a sequence node
            of volumes.
        item: which item of the sequence, from 0; None for the one that is shown now.

    Returns:
        Voxels (k, j, i), or (k, j, i, 3) for colours, in the node's own order: a view of the
        node's memory wherever possible, so copy or send them before anything changes the node.
        Spacing, origin and direction in LPS millimetres of the world.

    Raises:
        InputError: no voxels, no contrast, a label map, vectors that are no colours, a transform
            that is not linear, no such item.
    """
    return look_at(node, item).read()


@dataclass(frozen=True, eq=False)
class Look:
    """A volume node as it was found: nothing has been computed from its voxels yet.

    Attributes:
        volume: voxels as a view of the node's memory; of modality "other".
        modality: what the node says of itself, or "" where it says nothing.
    """

    volume: Volume
    modality: str

    def copy(self) -> Look:
        """With voxels of its own."""
        return replace(self, volume=replace(self.volume, voxels=np.array(self.volume.voxels)))

    def read(self) -> Volume:
        """The volume, checked and with its modality. Touches no node, so any thread may call it.

        Raises:
            InputError: no contrast.
        """
        return _checked(self.volume, self.modality)


def look_at(node: Any, item: int | None = None) -> Look:
    """The quick part of ``read_volume_node``, which has the same arguments.

    Raises:
        InputError: as there, but for a volume without contrast.
    """
    data, placed = _item(node, item)
    volume = _placed(data, placed, _voxels(data))
    return Look(volume, _tagged_modality(node) or _tagged_modality(data) or _of_picture(data))


def _checked(volume: Volume, modality: str) -> Volume:
    from FewShotSAMLib.data.hounsfield import modality_of
    from FewShotSAMLib.data.intensity import check_varied

    check_varied(volume)
    if volume.is_rgb and (volume.voxels == volume.voxels[..., :1]).all():
        volume = replace(volume, voxels=volume.voxels[..., 0])
    if volume.voxels.dtype.kind == "f":
        missing = int(sum(s.size - np.count_nonzero(np.isfinite(s)) for s in volume.voxels))
        if missing:
            note = f"{missing} voxels are not numbers or infinite; they count as background"
            volume = replace(volume, notes=(*volume.notes, note))
    # As the library finds it for a file, so that both give the same result.
    found, note = modality_of(volume.voxels, modality)
    return replace(volume, modality=found, notes=(*volume.notes, *((note,) if note else ())))


def grid_of(node: Any) -> Volume:
    """The grid of a volume node in the world: ``read_volume_node`` without looking at voxels.

    Returns:
        A volume of the node's size whose voxels are all zero (and take no memory).

    Raises:
        InputError: as for ``read_volume_node``.
    """
    image = node.GetImageData()
    if image is None or 0 in image.GetDimensions():
        raise InputError(f"{node.GetName()}: holds no voxels; choose another volume")
    voxels = np.broadcast_to(np.uint8(0), image.GetDimensions()[::-1])
    return _placed(node, node, voxels)


def number_of_items(node: Any) -> int:
    """Items of the sequence that ``node`` is, or is the proxy node of; 1 for a plain volume."""
    sequence, _, _ = _sequence(node)
    return sequence.GetNumberOfDataNodes() if sequence is not None else 1


def _placed(data: Any, placed: Any, voxels: np.ndarray) -> Volume:
    affine = local_to_world(placed) @ volume_affine(data)
    return placed_volume(voxels, affine, placed.GetName() or "volume")


def _item(node: Any, item: int | None) -> tuple[Any, Any]:
    """The node with the voxels, and the one in the scene whose place they take."""
    sequence, browser, proxy = _sequence(node)
    if sequence is None or (item is None and proxy is not None):
        if item not in (None, 0):
            raise InputError(f"{node.GetName()}: is no sequence, so it has no item {item}")
        return (node, node) if sequence is None else (proxy, proxy)
    count = sequence.GetNumberOfDataNodes()
    if item is None:
        raise InputError(f"{node.GetName()}: is a sequence; choose an item, 0 to {count - 1}")
    if not 0 <= item < count:
        raise InputError(f"{node.GetName()}: has no item {item}; its items are 0 to {count - 1}")
    data = sequence.GetNthDataNode(item)
    if not data.IsA("vtkMRMLVolumeNode"):
        raise InputError(f"{node.GetName()}: is a sequence of something else than volumes")
    # Data nodes live in a scene of their own, where the transforms of the main one are not.
    return data, proxy if proxy is not None else data


def _sequence(node: Any) -> tuple[Any, Any, Any]:
    """(sequence, browser, proxy node) that ``node`` belongs to, each None where there is none."""
    scene = node.GetScene()
    if scene is None or not hasattr(slicer, "vtkMRMLSequenceBrowserNode"):
        return None, None, None
    is_sequence = node.IsA("vtkMRMLSequenceNode")
    for n in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode")):
        browser = scene.GetNthNodeByClass(n, "vtkMRMLSequenceBrowserNode")
        if is_sequence and browser.IsSynchronizedSequenceNode(node, True):
            return node, browser, browser.GetProxyNode(node)
        if not is_sequence and (sequence := browser.GetSequenceNode(node)) is not None:
            return sequence, browser, node
    return (node, None, None) if is_sequence else (None, None, None)


def _voxels(node: Any) -> np.ndarray:
    name = node.GetName()
    if not node.IsA("vtkMRMLVolumeNode"):
        raise InputError(f"{name}: is not a volume; choose an image")
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError(f"{name}: is a label map; choose the image that it belongs to")
    image = node.GetImageData()
    if image is None or 0 in image.GetDimensions():
        raise InputError(f"{name}: holds no voxels; choose another volume")
    if image.GetPointData().GetScalars() is None:
        raise InputError(f"{name}: its voxels are no numbers; choose a grey or colour image")
    voxels = arrayFromVolume(node)
    if voxels.ndim == 3:
        return voxels
    components = voxels.shape[3]
    if components == 1:
        return voxels[..., 0]
    if components in (3, 4) and voxels.dtype.kind == "u":
        return voxels[..., :3]
    raise InputError(
        f"{name}: has {components} components of {voxels.dtype} per voxel; choose a grey volume "
        "or a colour one (3 or 4 unsigned components)"
    )


def _of_picture(data: Any) -> str:
    """"other" for a volume from a picture file, as the library takes it; else ""."""
    from FewShotSAMLib.data.files import PICTURES

    storage = data.GetStorageNode()
    file = storage.GetFileName() if storage is not None else None
    return "other" if file and PurePath(file).suffix.lower() in PICTURES else ""


def _tagged_modality(node: Any) -> str:
    scene = node.GetScene()
    hierarchy = scene.GetSubjectHierarchyNode() if scene is not None else None
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
    while item and item != hierarchy.GetSceneItemID():
        if found := hierarchy.GetItemAttribute(item, "DICOM.Modality"):
            return found.strip().upper()
        item = hierarchy.GetItemParent(item)
    for key in _MODALITY_ATTRIBUTES:
        if found := node.GetAttribute(key):
            return found.strip().upper()
    # Hounsfield units, noted by the DICOM module as a coded entry.
    units = node.GetVoxelValueUnits() if node.IsA("vtkMRMLScalarVolumeNode") else None
    if units is not None and units.GetCodeValue() in ("[hnsf'U]", "HU"):
        return "CT"
    return ""
