"""All that the two papers' tables need beside the data, as options of `fewshotsam evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_PROTOCOL = {
    "protocol": "given-slices", "strategy": "slices", "axis": "axial", "folds": True,
    "support_case": None, "papers_organs": True, "precision": "fp32", "plan": False,
}

PRESETS: Mapping[str, Mapping[str, object]] = MappingProxyType({
    "synpo-paper": _PROTOCOL | {"method": "synpo", "model": "best", "features": None, "fob": None},
    "fob-paper": _PROTOCOL | {"method": "fob", "model": "fob", "features": None, "fob": None},
})

# The four organs that are averaged: CHAOS's labels in MR, Synapse's in CT.
PAPERS_ORGANS: Mapping[str, Mapping[int, str]] = MappingProxyType({
    "MR": {1: "liver", 2: "right kidney", 3: "left kidney", 4: "spleen"},
    "CT": {1: "spleen", 2: "right kidney", 3: "left kidney", 6: "liver"},
})
