"""The embedded Segment Editor with the tools that one slice is marked with."""

from __future__ import annotations

from typing import Any

import qt

# By Slicer's own names, in the order of their buttons.
TOOLS = ("Paint", "Draw", "Erase", "Level tracing", "Scissors", "Islands")
# Pixels: five segments and the header. The rest of the panel needs the room, and the table scrolls.
_TABLE_HEIGHT = 130


class EditorTools:
    """Shows few tools, or all of them.

    Args:
        ui: the widgets of FewShotSAM.ui, by name.
    """

    def __init__(self, ui: Any) -> None:
        self._editor = ui.segmentEditor
        self._editor.setEffectNameOrder(list(TOOLS))
        self._show_all(False)
        ui.moreToolsBox.connect("toggled(bool)", self._show_all)
        for table in self._editor.findChildren(qt.QTableView):
            table.setMaximumHeight(_TABLE_HEIGHT)

    def _show_all(self, everything: bool) -> None:
        self._editor.unorderedEffectsVisible = everything
