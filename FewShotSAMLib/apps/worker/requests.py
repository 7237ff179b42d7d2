"""What a request to the worker must have."""

from __future__ import annotations

from .messages import Message


def check_request(request: Message) -> None:
    """Refuse a header that is no request.

    Raises:
        ValueError: what it lacks.
    """
    header = request.header
    wanted = {"quit": (), "cancel": ("target",)}.get(str(header.get("command")), ("id",))
    if not isinstance(header.get("command"), str):
        raise ValueError("what came is no request: it has no command")
    if lacking := [name for name in wanted if not isinstance(header.get(name), int)]:
        raise ValueError(f"what came is no request: its {lacking[0]} is no number")
