"""What a run works on: the volume and the supports, read from the scene once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from FewShotSAMLib import InputError, Support, Volume

from .existing_results import segmentation_stamp
from .placement import local_to_world, volume_affine
from .segments import SegmentInfo
from .structures import together
from .supports import volume_supports
from .volumes import read_volume_node


@dataclass(frozen=True, eq=False)
class Source:
    """What was read from the scene, with copies of the voxels.

    Attributes:
        key: changes when anything does that it was read from.
        segments: label -> what the structure is.
    """

    key: tuple
    nodes: tuple[Any, ...]
    volume: Volume
    supports: tuple[Support, ...]
    segments: Mapping[int, SegmentInfo]


_last: list[Source] = []  # what the process has got already need not be read and sent again


def forget_sources() -> None:
    """Lets go of the volume and supports of the last run."""
    _last.clear()


def read_source(
    volume_node: Any,
    segmentation_node: Any,
    segment_ids: Sequence[str] | None,
    further: Sequence[Support | str | Path],
    slices: str | Sequence[int],
    axis: str,
    item: int | None,
    window: tuple[float, float] | None,
) -> Source:
    """The volume and all supports, read from the scene and from files.

    Args:
        volume_node, segmentation_node, segment_ids, further, slices, axis, item, window: as for
            `logic.segment`.

    Raises:
        InputError: there is nothing to read, or it is unusable.
    """
    if volume_node is None:
        raise InputError("no volume is chosen; choose the volume to segment")
    if segmentation_node is None and not further:
        raise InputError("nothing is painted; choose a segmentation with a painted slice")
    nodes = tuple(node for node in (volume_node, segmentation_node) if node is not None)
    for node in nodes:
        if node.GetScene() is None:
            raise InputError(f"{node.GetName()}: is not in the scene any more; choose another")
    ids = None if segment_ids is None else tuple(segment_ids)
    choice = slices if isinstance(slices, str) else tuple(slices)
    files = [one if isinstance(one, Support) else _file_stamp(Path(one)) for one in further]
    key = (
        *(stamp for node in nodes for stamp in _stamps(node)),
        ids, choice, axis, item, window, *files,
    )  # fmt: skip
    kept = _last[0] if _last else None
    if kept is not None and kept.nodes == nodes and kept.key == key:
        return kept
    # A copy: the process reads it while the scene may change.
    volume = read_volume_node(volume_node, item)
    volume = replace(volume, voxels=np.array(volume.voxels))
    painted, segments = (), {}
    if segmentation_node is not None:
        painted, segments = volume_supports(
            volume, segmentation_node, ids, axis=axis, slices=choice
        )
        if window is not None:
            painted = _through_window(painted, volume, window)
    loaded = [one if isinstance(one, Support) else Support.load(one) for one in further]
    supports, segments = together(painted, segments, loaded)
    source = Source(key, nodes, volume, supports, segments)
    _last[:] = [source]
    return source


def _through_window(
    supports: Sequence[Support], volume: Volume, window: tuple[float, float]
) -> tuple[Support, ...]:
    """Supports of the volume with its grey levels as the window shows them."""
    from FewShotSAMLib.data.intensity import intensity_range
    from FewShotSAMLib.data.slicing import volume_field

    intensity = intensity_range(volume, window)
    canonical, _ = volume.canonical()
    return tuple(
        replace(one, intensity=intensity, field=volume_field(canonical, intensity, one.axis))
        for one in supports
    )


def _stamps(node: Any) -> tuple[Any, ...]:
    """Changes with the node's content, name and place."""
    stamps: list[Any] = [node.GetName(), local_to_world(node).tobytes()]
    if node.IsA("vtkMRMLSegmentationNode"):
        segmentation = node.GetSegmentation()
        stamps.append(segmentation_stamp(node))
        stamps += [segmentation.GetSegment(i).GetMTime() for i in segmentation.GetSegmentIDs()]
        return tuple(stamps)
    image = node.GetImageData() if node.IsA("vtkMRMLVolumeNode") else None
    if image is None:  # a sequence, say
        return (*stamps, node.GetMTime())
    attributes = tuple((name, node.GetAttribute(name)) for name in node.GetAttributeNames())
    return (*stamps, image.GetMTime(), volume_affine(node).tobytes(), attributes)


def _file_stamp(path: Path) -> tuple[Any, ...]:
    try:
        found = path.stat()
    except OSError:
        return (path,)  # reading it says what is wrong
    return (path, found.st_mtime_ns, found.st_size)
