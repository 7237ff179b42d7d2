"""The same support on many volumes of the scene, one after the other in the one warm process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from FewShotSAMLib import InputError

from . import logic
from .job import CANCELLED, DONE, FAILED, RUNNING, WAITING
from .run import Run, poll_until_over

if TYPE_CHECKING:
    from FewShotSAMLib import Support
    from FewShotSAMLib.segmentation.results import Progress

OVER = "over"
# Arguments of `segment` that make sense for one volume alone.
_OF_ONE = {
    "before_change", "into", "item", "output_segmentation", "range", "segment_ids",
    "support_segmentation",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Turn:
    """One volume's.

    Attributes:
        name: of the volume, for messages.
        begin: starts its run.
        end: called with the run when it is over, also when it was given up.

    An InputError of either is this volume's failure.
    """

    name: str
    begin: Callable[[], Run]
    end: Callable[[Run], None] = lambda run: None


class ManyRuns:
    """Runs of several volumes. Poll it from a timer until it is `over`.

    A volume that fails does not keep the others from being segmented; what is done stays when the
    rest is cancelled.

    Attributes:
        state: "waiting", "running", "cancelled" or "over".
        runs: of the volumes that were begun, in their order; the last may be on its way.
        done: how many volumes are segmented.
        failed: volume's name -> why it was not segmented, in one line.

    Args:
        turns: of the volumes.
        callback: called with each run when it is over.
    """

    def __init__(
        self, turns: Sequence[Turn], callback: Callable[[Run], None] | None = None
    ) -> None:
        self.state = WAITING
        self.runs: list[Run] = []
        self.done = 0
        self.failed: dict[str, str] = {}
        self._left, self._callback = list(turns), callback
        self._count = len(self._left)
        self._now: tuple[Turn, Run] | None = None

    @property
    def over(self) -> bool:
        """Whether no volume is left, or the rest was cancelled."""
        return self.state in (OVER, CANCELLED)

    @property
    def nodes(self) -> list[Any]:
        """The segmentation nodes that were made, in the order of their volumes."""
        return [run.node for run in self.runs if run.node is not None]

    @property
    def progress(self) -> tuple[int, int]:
        """How many volumes are behind it, and how many there are."""
        return self._count - len(self._left) - (self._now is not None), self._count

    def poll(self) -> None:
        """Takes in what has arrived, and begins the next volume when one is done."""
        if self.over:
            return
        if self._now is None:
            self._next()
            return
        turn, run = self._now
        run.poll()
        if run.over:
            self._now = None
            self._note(turn, run)

    def _next(self) -> None:
        if not self._left:
            self.state = OVER
            return
        self.state, turn = RUNNING, self._left.pop(0)
        try:
            run = turn.begin()
        except InputError as problem:
            self.failed[turn.name] = str(problem)
        else:
            self.runs.append(run)
            self._now = turn, run

    def _note(self, turn: Turn, run: Run) -> None:
        if run.state == FAILED:
            self.failed[turn.name] = run.message
        elif run.state == CANCELLED:
            self._left.clear()
            self.state = CANCELLED
        try:
            turn.end(run)
            self.done += run.state == DONE
        except InputError as problem:
            self.failed[turn.name] = str(problem)
        if self._callback is not None:
            self._callback(run)

    def cancel(self) -> None:
        """Gives up the volume at hand, which is then as it was, and those that wait."""
        self._left.clear()
        if self._now is not None:
            self._now[1].cancel()
        elif not self.over:
            self.state = CANCELLED

    def abandon(self) -> None:
        """Ends the run at hand at once, for whoever will not poll any more; what was done before it
        stays."""
        self._left.clear()
        if self._now is not None:
            turn, run = self._now
            self._now = None
            run.abandon()
            turn.end(run)
        self.state = CANCELLED

    def wait(self, tick: Callable[[], None] | None = None) -> None:
        """Polls until it is over.

        Args:
            tick: called after every poll, to let an application redraw.

        Raises:
            KeyboardInterrupt: and whatever else `tick` or a callback raises; the run at hand was
                ended, what was done before it stays.
        """
        poll_until_over(self, tick)


def segment_many(
    volume_nodes: Sequence[Any],
    supports: Sequence[Support | str | Path] | Support | str | Path,
    *,
    progress: Callable[[int, int, Progress], None] | None = None,
    callback: Callable[[Run], None] | None = None,
    wait: bool = True,
    **options: Any,
) -> ManyRuns:
    """Segments many volumes by the same supports, each into a segmentation of its own.

    Args:
        volume_nodes: scalar or colour volume nodes of the scene.
        supports: `FewShotSAMLib.Support` objects or saved files, of any patient.
        progress: called with how many volumes are done, how many there are, and the `Progress`
            of the one at hand.
        callback: called with each volume's `Run` when it is over.
        wait: True returns when all are segmented; False returns at once, to be polled.
        options: what else `segment` takes, such as `model`, `method`, `device` or `strategy`.

    Returns:
        The runs, with `nodes` and `failed`.

    Raises:
        InputError: no volume, no support or one that cannot be used, or an option that is of one
            volume.
    """
    given, nodes = check_many(supports, options), list(volume_nodes)
    if not nodes:
        raise InputError("segment_many needs at least one volume")

    def begin(node: Any) -> Run:
        if node.GetScene() is None:
            raise InputError("was removed before its turn")
        return logic.segment(node, supports=given, progress=tell, wait=False, **options)

    def tell(one: Progress) -> None:
        if progress is not None:
            progress(*many.progress, one)

    names = _own_names(nodes)
    many = ManyRuns(
        [Turn(name, partial(begin, node)) for name, node in zip(names, nodes)], callback
    )
    if wait:
        many.wait(logic.redraw())
    return many


def check_many(
    supports: Sequence[Support | str | Path] | Support | str | Path, options: dict[str, Any]
) -> list[Support]:
    """The supports, read.

    Raises:
        InputError: there is none or one that cannot be used, or an option is of one volume.
    """
    from FewShotSAMLib import Support

    given = [supports] if isinstance(supports, str | Path | Support) else list(supports)
    if not given:
        raise InputError("segment_many needs at least one support")
    if of_one := sorted(_OF_ONE & options.keys()):
        raise InputError(f"segment_many: {of_one[0]} is of one volume; use segment for it")
    return [one if isinstance(one, Support) else Support.load(one) for one in given]


def _own_names(nodes: Sequence[Any]) -> list[str]:
    """A name for each; two volumes of one name are told apart by their ids."""
    names: list[str] = []
    for node in nodes:
        name = node.GetName() or node.GetID() or "volume"
        names.append(f"{name} ({node.GetID()})" if name in names else name)
    return names
