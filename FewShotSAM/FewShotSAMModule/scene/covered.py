"""Painted segments that a result covers are not drawn a second time under it.

What was hidden is noted on the segmentation, so that a scene that is loaded again can show it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

ATTRIBUTE = "FewShotSAM.Covered"


def hide_covered(segmentation_node: Any, segment_ids: Iterable[str]) -> None:
    """Takes segments out of the slice views; in 3-D, in lists and in files they stay."""
    show_covered(segmentation_node)
    display, held = segmentation_node.GetDisplayNode(), []
    if display is None:
        return
    for one in segment_ids:
        fill = display.GetSegmentVisibility2DFill(one)
        outline = display.GetSegmentVisibility2DOutline(one)
        if fill or outline:
            held.append([one, bool(fill), bool(outline)])
            display.SetSegmentVisibility2DFill(one, False)
            display.SetSegmentVisibility2DOutline(one, False)
    segmentation_node.SetAttribute(ATTRIBUTE, json.dumps(held) if held else None)


def show_covered(segmentation_node: Any) -> None:
    """Shows again what `hide_covered` hid. For nothing hidden it does nothing."""
    if segmentation_node is None or not (text := segmentation_node.GetAttribute(ATTRIBUTE)):
        return
    segmentation_node.SetAttribute(ATTRIBUTE, None)
    display = segmentation_node.GetDisplayNode()
    try:
        held = [(str(one), bool(fill), bool(outline)) for one, fill, outline in json.loads(text)]
    except (ValueError, TypeError):
        return  # edited by hand
    known = set(segmentation_node.GetSegmentation().GetSegmentIDs())
    for one, fill, outline in held:
        if display is not None and one in known:
            display.SetSegmentVisibility2DFill(one, fill)
            display.SetSegmentVisibility2DOutline(one, outline)
