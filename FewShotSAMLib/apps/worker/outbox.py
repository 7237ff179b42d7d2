"""Sends messages from a thread of its own: what is computed never waits for who reads."""

from __future__ import annotations

import os
import queue
import threading
from typing import BinaryIO

from .messages import Message, packed, write_parts


class Outbox:
    """What is still to be sent, in its order.

    Whoever reads may be slow (the main thread of an application that keeps Python's lock reads
    some times a second only), and a pipe holds 64 KB.

    Args:
        target: where messages go. The process ends when nobody reads there any more.
    """

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._waiting: queue.SimpleQueue[list[bytes | memoryview] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._send, name="answers", daemon=True)
        self._thread.start()

    def put(self, message: Message) -> None:
        """Takes a message, whose arrays must not change any more.

        Raises:
            TypeError, ValueError: something in it is neither JSON nor an array of numbers.
        """
        self._waiting.put(packed(message))

    def close(self) -> None:
        """Waits until all is sent."""
        self._waiting.put(None)
        self._thread.join()

    def _send(self) -> None:
        while (parts := self._waiting.get()) is not None:
            try:
                write_parts(self._target, parts)
            except OSError:
                os._exit(1)  # nobody listens
