"""The panel's choices as a script for Slicer's Python console."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Choices:
    """What to write down.

    Attributes:
        volume: name of the volume node.
        segmentation: name of the support segmentation node, or "".
        support_file: path of a support file, or "".
        output: name of the segmentation node that takes the result, or "" for a new one.
        options: keyword arguments of `FewShotSAMLogic.segment` that differ from its defaults.
    """

    volume: str
    segmentation: str = ""
    support_file: str = ""
    output: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


def python_text(choices: Choices) -> str:
    """A script that segments again what the panel would segment."""
    lines = [
        "import slicer",
        "from FewShotSAM import FewShotSAMLogic",
        "",
        f"volume = {_node(choices.volume)}",
    ]
    arguments = ["volume"]
    if choices.segmentation:
        lines.append(f"support = {_node(choices.segmentation)}")
        arguments.append("support")
    else:
        arguments.append("None")
    if choices.output:
        lines.append(f"output = {_node(choices.output)}")
        arguments.append("output")
    if choices.support_file:
        arguments.append(f"supports=[{choices.support_file!r}]")
    arguments += [f"{name}={value!r}" for name, value in choices.options.items()]
    lines += ["", "segmentation = FewShotSAMLogic().segment("]
    lines += [f"    {argument}," for argument in arguments]
    lines += [")", ""]
    return "\n".join(lines)


def changed_options(chosen: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The chosen values that differ from the defaults, in the order chosen.

    Raises:
        KeyError: a name that has no default.
    """
    return {name: value for name, value in chosen.items() if value != defaults[name]}


def _node(name: str) -> str:
    # By its exact name: slicer.util.getNode would read * and [ as wildcards.
    return f"slicer.mrmlScene.GetFirstNodeByName({name!r})"
