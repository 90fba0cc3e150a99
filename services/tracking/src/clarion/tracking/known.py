"""What had been counted of a notification before its decision came."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EarlierEvent:
    """An event that was counted before its notification's category was known."""

    notification_id: bytes
    kind: int
    channel: str
    type: str
    occurred_time: int
