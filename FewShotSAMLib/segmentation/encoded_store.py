"""Encoded pictures, known again by their content."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor

from ..prompting.encoded_slices import EncodedSlices

BUDGET = 1 << 30  # bytes


class EncodedStore:
    """What networks made of pictures, least recently used out first.

    It outlives volumes: a volume that is segmented again, with one more slice marked or another
    one corrected, is not encoded again, and a marked slice is encoded once as support and query.
    Pictures on the CPU only: elsewhere looking at them costs more than it saves. Batches are known
    as a whole, so that a result never depends on what was asked for before: the last digits of a
    picture's features change with what is encoded beside it.

    Args:
        budget: bytes to keep; at least the last batch stays.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self.budget = budget
        self._kept: OrderedDict[bytes, EncodedSlices] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def encoded(
        self, images: Tensor, encode: Callable[[Tensor], EncodedSlices]
    ) -> EncodedSlices:
        """What `encode` makes of pictures (N, 3, S, S), or made of the same ones before."""
        if images.device.type != "cpu":
            return encode(images)
        key = _digest(images)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made = self._kept[key] = encode(images)
        self._bytes += made.bytes
        while self._bytes > self.budget and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self._bytes -= old.bytes
        return made


def _digest(images: Tensor) -> bytes:
    """Of pictures; grey ones have one plane of memory for all three colours."""
    planes = images[:, :1] if images.stride(1) == 0 else images
    digest = hashlib.blake2b(repr(tuple(images.shape)).encode(), digest_size=16)
    digest.update(planes.contiguous().numpy())
    return digest.digest()
