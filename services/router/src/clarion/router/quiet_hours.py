"""Quiet hours: a daily span in the person's time, which may go over midnight. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, time, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from clarion.api.recipients.v1.recipient_pb2 import QuietHours

QUIET_CHANNELS = frozenset({"push", "email", "sms"})
"""The channels that disturb; an inbox inside the app waits until it is opened."""


@lru_cache(maxsize=1024)
def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # Checked when it was stored, by a host that may know more zones than this one.
        return UTC


@lru_cache(maxsize=2048)
def _clock_time(text: str) -> time:
    return time.fromisoformat(text)


def is_quiet(quiet_hours: QuietHours, time_zone: str, now: datetime) -> bool:
    """Whether ``now`` (aware) lies in the span; start included, end not.

    ``time_zone`` is the recipient's, for a span that names none; empty and unknown ones
    are UTC. A span whose start is its end is a whole day.
    """
    if not quiet_hours.start or not quiet_hours.end:
        return False
    zone = _zone(quiet_hours.timezone or time_zone or "UTC")
    local = now.astimezone(zone).time()
    start, end = _clock_time(quiet_hours.start), _clock_time(quiet_hours.end)
    if start < end:
        return start <= local < end
    return local >= start or local < end
