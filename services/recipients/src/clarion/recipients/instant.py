"""Instants that callers give."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from clarion.runtime.errors import FieldViolation

AHEAD = timedelta(minutes=5)
"""How far the clocks of callers may be ahead."""


def violations(
    instant: Timestamp, field: str, now: datetime | None = None
) -> list[FieldViolation]:
    """What is wrong with it: only the years 1 to 9999 exist.

    With ``now``, it is about something that happened: it does not lie ahead.
    """
    try:
        at = instant.ToDatetime(UTC)
    except (ValueError, OverflowError):
        text = "is no instant of the years 1 to 9999"
        return [FieldViolation(field, text, "timestamp.range")]
    if now is not None and at > now + AHEAD:
        text = "lies ahead: give the time at which it was said, or leave it out for now"
        return [FieldViolation(field, text, "timestamp.ahead")]
    return []


def given(instant: Timestamp, is_given: bool) -> datetime | None:
    """The instant as a datetime, where there is one."""
    return instant.ToDatetime(UTC) if is_given else None
