"""The error for input that cannot be used."""

from __future__ import annotations


class InputError(ValueError):
    """Unusable input. The message is one line: what is wrong, where, and what to do about it."""
