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
    Pictures on the CPU only: elsewhere looking at them costs more than it saves.

    Args:
        budget: bytes to keep; at least the last picture stays.
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
        if images.device.type != "cpu" or not len(images):
            return encode(images)
        keys = [_digest(one) for one in images]
        new = [place for place, key in enumerate(keys) if key not in self._kept]
        made = encode(images if len(new) == len(keys) else images[new]) if new else None
        found = {keys[place]: made.select(slice(n, n + 1)) for n, place in enumerate(new)}
        found |= {key: self._kept[key] for key in keys if key not in found}
        for key in keys:
            self._keep(key, found[key])
        if made is not None and len(new) == len(keys):
            return made
        return EncodedSlices.concatenate([found[key] for key in keys])

    def _keep(self, key: bytes, one: EncodedSlices) -> None:
        if key not in self._kept:
            self._bytes += one.bytes
        self._kept[key] = one
        self._kept.move_to_end(key)
        while self._bytes > self.budget and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self._bytes -= old.bytes


def _digest(image: Tensor) -> bytes:
    """Of a picture (3, S, S); a grey one has one plane of memory for all three colours."""
    planes = image[:1] if image.stride(0) == 0 else image
    digest = hashlib.blake2b(repr(tuple(image.shape)).encode(), digest_size=16)
    digest.update(planes.contiguous().numpy())
    return digest.digest()
