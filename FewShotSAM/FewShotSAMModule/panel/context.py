"""What every section of the panel is given, and nothing of the panel itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from .state import CANCELLING, IDLE, RUNNING

# (array axis, slice along it, slice node): what a view shows of the chosen volume.
Place = tuple[int, int, Any]


class Undoable(Protocol):
    """What made a change of the scene."""

    def undo(self) -> None:
        """Takes it back. Raises InputError where that cannot be done any more."""
        ...


@dataclass(eq=False)
class Context:
    """The widgets, what may be asked of the panel, and what its sections share.

    Attributes:
        ui: the widgets of FewShotSAM.ui, by name.
        logic: a `FewShotSAMLogic`.
        place: which slice of the volume is shown, or None.
        view: the slice view of the slices along an array axis, or None.
        say: shows one line under the buttons; with ``lasting=True`` hints do not take its place.
        refresh: applies what may be done now to all widgets; refresh_soon: once for many calls.
        job: what is going on, one of the words of `state`.
        parameters: the `FewShotSAMParameters`; None while the scene is closed.
        last: what made the last change, or None where nothing can be taken back.
    """

    ui: Any
    logic: Any
    place: Callable[[], Place | None]
    view: Callable[[int], Any]
    say: Callable[..., None]
    refresh: Callable[[], None]
    refresh_soon: Callable[[], None]
    job: Callable[[], str]
    parameters: Any = None
    last: Undoable | None = None

    @property
    def idle(self) -> bool:
        """Whether neither a run nor an installation is going on."""
        return self.job() == IDLE

    @property
    def running(self) -> bool:
        """Whether a run is going on."""
        return self.job() in (RUNNING, CANCELLING)

    @property
    def volume(self) -> Any:
        """The chosen volume node, or None."""
        return self.parameters.volume if self.parameters is not None else None

    def before_change(self, node: Any) -> Callable[[], None] | None:
        """Saves the Segment Editor's undo state, where it edits the segmentation ``node``."""
        editor = self.ui.segmentEditor
        if node is None or editor.segmentationNode() is not node:
            return None
        return editor.saveStateForUndo
