"""What the database knew of a notification before a batch was written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Known:
    """A notification's row, as far as counting needs it."""

    facts: int
    category: str | None
    """None until it is decided."""
    type: str
    accepted_time: int
    """In microseconds since 2000."""


@dataclass(frozen=True, slots=True)
class EarlierEvent:
    """An event that was counted before its notification's category was known."""

    notification_id: bytes
    kind: int
    channel: str
    type: str
    occurred_time: int
