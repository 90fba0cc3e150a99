"""Instants that callers give."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from clarion.runtime.errors import FieldViolation


def violations(instant: Timestamp, field: str) -> list[FieldViolation]:
    """What is wrong with it: only the years 1 to 9999 exist."""
    try:
        instant.ToDatetime(UTC)
    except (ValueError, OverflowError):
        text = "is no instant of the years 1 to 9999"
        return [FieldViolation(field, text, "timestamp.range")]
    return []


def given(instant: Timestamp, is_given: bool) -> datetime | None:
    """The instant as a datetime, where there is one."""
    return instant.ToDatetime(UTC) if is_given else None
