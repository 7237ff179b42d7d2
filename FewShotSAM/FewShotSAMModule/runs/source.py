"""What a run works on: the volume and the supports, read from the scene once.

Looking at nodes takes the main thread a moment; what is computed from their voxels takes seconds
for a large volume and happens in a thread of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from FewShotSAMLib import InputError, Volume

from ..scene.existing_results import segmentation_stamp
from ..scene.neighbours import Neighbours, look_at_neighbours
from ..scene.placement import local_to_world, volume_affine
from ..scene.segments import SegmentInfo
from ..scene.structures import together
from ..scene.supports import Painting, look_at_painting, painted_supports
from ..scene.volumes import Look, look_at

if TYPE_CHECKING:
    from FewShotSAMLib import Support


@dataclass(frozen=True)
class Choice:
    """Which of what is painted and saved to use; see `logic.segment`."""

    segment_ids: tuple[str, ...] | None = None
    supports: tuple[Support | str | Path, ...] = ()
    slices: str | tuple[int, ...] = "all"
    axis: str = "auto"
    item: int | None = None
    window: tuple[float, float] | None = None
    overview: bool = True


@dataclass(frozen=True, eq=False)
class Source:
    """What was read, with copies of the voxels.

    Attributes:
        key: changes when anything does that it was read from.
        nodes: the volume's, and the segmentation's where there is one.
        segments: label -> what the structure is.
        excluded: voxels of segments that the result may not take, or None.
    """

    key: tuple[Any, ...]
    nodes: tuple[Any, ...]
    volume: Volume
    supports: tuple[Support, ...]
    segments: Mapping[int, SegmentInfo]
    excluded: Volume | None = None


_last: list[Source] = []  # what the process has got already need not be read and sent again


def forget_sources() -> None:
    """Lets go of the volume and supports of the last run."""
    _last.clear()


class Preparation:
    """Reading on its way. Made on the main thread; ask it with `poll`.

    Args:
        volume_node, segmentation_node, choice: as for `logic.segment`.
        output: the segmentation that the result goes into, or None; overwrite: as for
            `ResultWriter`.

    Raises:
        InputError: there is nothing to read, or what is seen at once is unusable.
    """

    def __init__(
        self, volume_node: Any, segmentation_node: Any, choice: Choice, output: Any = None,
        overwrite: str = "all",
    ) -> None:
        if volume_node is None:
            raise InputError("no volume is chosen; choose the volume to segment")
        if segmentation_node is None and not choice.supports:
            raise InputError("nothing is painted; choose a segmentation with a painted slice")
        self.nodes = tuple(n for n in (volume_node, segmentation_node) if n is not None)
        for node in self.nodes:
            if node.GetScene() is None:
                raise InputError(f"{node.GetName()}: is not in the scene any more; choose another")
        self._problem: BaseException | None = None
        self._source: Source | None = None
        files = tuple(_file_stamp(one) for one in choice.supports)
        key = (*(_stamp(node) for node in self.nodes), replace(choice, supports=()), files)
        self._kept, self._volume = _kept_source(self.nodes, key), _kept_volume(key)
        look = None if self._kept else look_at(volume_node, choice.item)
        grid = self._kept.volume if self._kept else look.volume
        near = None if output is None else look_at_neighbours(grid, output, overwrite)
        if self._kept and near is None:
            self._source = self._kept
            return
        painting = None
        if look and segmentation_node is not None:
            painting = look_at_painting(grid, segmentation_node, choice.segment_ids)
        self._thread = threading.Thread(
            target=self._read, args=(key, look, painting, near, choice), name="FewShotSAM",
            daemon=True,
        )  # fmt: skip
        self._thread.start()

    def poll(self, patience: float = 0.02) -> Source | None:
        """What was read, or None while it is still being read.

        Args:
            patience: seconds to wait for it. The application's main thread may hold Python's lock
                while it is idle, and reading gets on meanwhile.

        Raises:
            InputError: something is unusable.
        """
        if self._source is None and self._problem is None:
            self._thread.join(patience)
        if self._problem is not None:
            raise self._problem
        if self._source is not None:
            _last[:] = [self._kept]
        return self._source

    def _read(
        self, key: tuple[Any, ...], look: Look | None, painting: Painting | None,
        near: Neighbours | None, choice: Choice,
    ) -> None:
        try:
            # Copies first: the scene may change while this goes on. Arrays that the scene lets go
            # of stay alive as long as the views do.
            painting, near = (one.copy() if one else None for one in (painting, near))
            look = look.copy() if look and self._volume is None else look
            if look:
                volume = self._volume or look.read()
                supports, segments = _inputs(volume, painting, choice)
                self._kept = Source(key, self.nodes, volume, supports, segments)
            kept = self._kept
            excluded = near.voxels(kept.volume, kept.segments) if near else None
            self._source = replace(kept, excluded=excluded)
        except BaseException as problem:
            self._problem = problem


def _kept_source(nodes: tuple[Any, ...], key: tuple[Any, ...]) -> Source | None:
    """What the last run read, where it would be read again."""
    same = bool(_last) and _last[0].nodes == nodes and _last[0].key == key
    return _last[0] if same else None


def _kept_volume(key: tuple[Any, ...]) -> Volume | None:
    """That of the last run, where the same one would be read again: only the painting changed."""
    same = bool(_last) and _volume_key(_last[0].key) == _volume_key(key)
    return _last[0].volume if same else None


def _volume_key(key: tuple[Any, ...]) -> tuple[Any, ...]:
    """What of a source's key is the volume's: its stamp, and which item of a sequence it is."""
    return key[0], key[-2].item


def _inputs(
    volume: Volume, painting: Painting | None, choice: Choice
) -> tuple[tuple[Support, ...], Mapping[int, SegmentInfo]]:
    """The supports, and what their labels are."""
    supports, segments = (), {}
    if painting is not None:
        supports, segments = painted_supports(
            volume, painting, axis=choice.axis, slices=choice.slices, overview=choice.overview
        )
        if choice.window is not None:
            supports = _through_window(supports, volume, choice.window)
    return together(supports, segments, _loaded(choice.supports))


def _loaded(supports: Sequence[Support | str | Path]) -> list[Support]:
    from FewShotSAMLib import Support

    return [Support.load(one) if isinstance(one, (str, Path)) else one for one in supports]


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


def _stamp(node: Any) -> tuple[Any, ...]:
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


def _file_stamp(support: Support | str | Path) -> Any:
    if not isinstance(support, (str, Path)):
        return support
    try:
        found = Path(support).stat()
    except OSError:
        return support  # reading it says what is wrong
    return (str(support), found.st_mtime_ns, found.st_size)
