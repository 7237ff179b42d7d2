"""Batches that fit: when memory runs out, half as many at a time, and at last the CPU."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..data.errors import InputError

Columns = tuple[Tensor | None, ...]
_OUT_OF_MEMORY = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MemoryPolicy:
    """What may be done when the device's memory runs out.

    Attributes:
        allow_cpu: when not even one item fits, go on on the CPU instead of failing.
        tell: called with one sentence each time something changes.
    """

    allow_cpu: bool = False
    tell: Callable[[str], None] = _log.warning


class BatchRunner:
    """Runs one network over as many items as are given, in batches that fit in memory.

    A batch size that was too large is not tried again; a network that moved to the CPU stays
    there. Results always come back on the device that the items came from.

    Args:
        network: moved to `device`, and to the CPU where the policy allows it.
        device: where it computes.
        name: for messages.
        policy: what to do when memory runs out.
    """

    def __init__(
        self, network: nn.Module, device: torch.device, name: str, policy: MemoryPolicy
    ) -> None:
        self.network = network.eval().requires_grad_(False)
        self.device, self.name, self.policy = device, name, policy
        self._most: dict[str, int] = {}
        if not self._place():
            self._leave_device()

    def run(
        self,
        what: str,
        at_once: int,
        forward: Callable[..., tuple[Tensor, ...]],
        *columns: Tensor | None,
    ) -> tuple[Tensor, ...]:
        """`forward` over all rows of the columns, its results joined along the first dimension.

        Args:
            what: the plural name of the items in messages; each kind has its own batch size.
            at_once: rows to begin with.
            forward: gets the rows of each column, on the network's device, and returns tensors
                with as many rows. None stays None. It is called at least once, maybe with no rows.
            columns: of one length; the first must not be None.

        Raises:
            InputError: one row alone does not fit and the CPU is not allowed.
        """
        first = columns[0]
        parts: list[tuple[Tensor, ...]] = []
        start, count = 0, len(first)
        while start < count or not parts:
            size = min(self._most.get(what, at_once), max(count - start, 1))
            rows = tuple(None if c is None else c[start : start + size] for c in columns)
            part = self._try(forward, rows)
            if part is None:
                self._shrink(what, size)
                continue
            parts.append(tuple(t.to(first.device) for t in part))
            start += size
        if len(parts) == 1:
            return parts[0]
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))

    def _try(self, forward: Callable[..., tuple[Tensor, ...]], rows: Columns) -> Columns | None:
        """The results, or None when memory ran out. Returning from here drops the traceback, and
        with it the tensors of the failed attempt, before memory is asked for again."""
        try:
            return forward(*(None if r is None else r.to(self.device) for r in rows))
        except RuntimeError as problem:
            if not is_out_of_memory(problem):
                raise
            return None

    def _shrink(self, what: str, size: int) -> None:
        gc.collect()
        _release(self.device)
        if size > 1:
            self._most[what] = size // 2
            self.policy.tell(
                f"{self.name}: {size} {what} at once do not fit in the memory of {self.device}; "
                f"going on with {size // 2}"
            )
        else:
            self._leave_device()

    def _place(self) -> bool:
        """Moves the network to the device; False when it does not fit."""
        try:
            self.network.to(self.device)
        except RuntimeError as problem:
            if not is_out_of_memory(problem):
                raise
            return False
        return True

    def _leave_device(self) -> None:
        """To the CPU where that is allowed, else an error."""
        old = self.device
        if old.type == "cpu" or not self.policy.allow_cpu:
            place = "this machine" if old.type == "cpu" else str(old)
            hint = "" if old.type == "cpu" else ", or --device cpu"
            raise InputError(
                f"{self.name}: the memory of {place} is too small for it; close other programs or "
                f"use a smaller model{hint}"
            )
        self.device = torch.device("cpu")
        self.network.to(self.device)
        _release(old)
        self.policy.tell(f"{self.name}: does not fit in the memory of {old}; now on the CPU")


def is_out_of_memory(problem: RuntimeError) -> bool:
    """Whether an error says that memory ran out; only CUDA's has a type of its own."""
    if isinstance(problem, _OUT_OF_MEMORY):
        return True
    text = str(problem).lower()
    return "out of memory" in text or "can't allocate memory" in text


def _release(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
