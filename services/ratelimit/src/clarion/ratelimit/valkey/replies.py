"""What Valkey answers, in Python's words."""

from __future__ import annotations


def text(value: bytes | str) -> str:
    """Replies are bytes or text by the client's settings, which are not ours."""
    return value.decode() if isinstance(value, bytes) else value
