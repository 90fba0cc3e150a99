"""Quiet hours: a daily span in the person's time, which may go over midnight. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, tzinfo
from functools import lru_cache

from clarion.api.recipients.v1.recipient_pb2 import QuietHours
from clarion.runtime.time_zones import zone_of

QUIET_CHANNELS = frozenset({"push", "email", "sms"})
"""The channels that disturb; an inbox inside the app waits until it is opened."""


_DAY = timedelta(days=1)


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
    zone = zone_of(quiet_hours.timezone or time_zone or "UTC")
    start, end = _clock_time(quiet_hours.start), _clock_time(quiet_hours.end)
    return _lies_in(start, end, now.astimezone(zone).time())


def quiet_until(
    quiet_hours: QuietHours, time_zone: str, now: datetime
) -> datetime | None:
    """The first instant after ``now`` that is not quiet, in UTC.

    None when ``now`` is not quiet, and for a span that is a whole day and never ends.
    """
    if not is_quiet(quiet_hours, time_zone, now):
        return None
    zone = quiet_hours.timezone or time_zone or "UTC"
    return _end_of(quiet_hours.start, quiet_hours.end, zone, now)


@lru_cache(maxsize=1024)
def _end_of(start: str, end: str, zone_name: str, now: datetime) -> datetime | None:
    # Cached for the people of one batch, who are judged at one instant.
    zone, first, last = zone_of(zone_name), _clock_time(start), _clock_time(end)
    if first == last:
        return None
    at = now.astimezone(UTC)
    while True:
        wall = at.astimezone(zone).replace(tzinfo=None)
        ending = datetime.combine(wall.date(), last)
        if ending <= wall:
            ending += _DAY
        candidate = at + (ending - wall)
        if candidate.astimezone(zone).replace(tzinfo=None) == ending:
            return candidate
        # The clocks change before it: the span may end there, or go on from there.
        at = change_of_clocks(zone, at, candidate)
        if not _lies_in(first, last, at.astimezone(zone).time()):
            return at


def change_of_clocks(zone: tzinfo, after: datetime, before: datetime) -> datetime:
    """The instant of a change of the clocks between the two, to the second.

    There must be one: their offsets differ.
    """
    offset = after.astimezone(zone).utcoffset()
    low, high = int(after.timestamp()), int(before.timestamp()) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)


def _lies_in(start: time, end: time, clock_time: time) -> bool:
    if start < end:
        return start <= clock_time < end
    return clock_time >= start or clock_time < end
