"""Exact rolling windows: pure arithmetic.

Times are whole microseconds since the epoch, so that Python and Valkey's Lua count the
very same numbers. A permit taken at ``t`` counts while ``now - t`` is less than the
window: at exactly ``t + window`` it is free again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

HOURLY = "hourly"
DAILY = "daily"
WEEKLY = "weekly"
OTHER = "window"
"""The name of a window that has none of its own."""

_MICROSECOND = timedelta(microseconds=1)
HOUR = timedelta(hours=1) // _MICROSECOND
DAY = timedelta(days=1) // _MICROSECOND
WEEK = timedelta(days=7) // _MICROSECOND
_NAMES = {HOUR: HOURLY, DAY: DAILY, WEEK: WEEKLY}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Limit(NamedTuple):
    """How many permits one person gets of a category. 0: none at all."""

    daily: int
    """In any 24 hours."""
    weekly: int
    """In any 7 days."""


class Window(NamedTuple):
    """How many permits in any span of that length."""

    span: int
    """In microseconds."""
    most: int
    """0: none at all."""
    policy_id: str = ""
    """Who set it."""

    @property
    def name(self) -> str:
        """What a verdict calls it."""
        return _NAMES.get(self.span, OTHER)


class Refusal(NamedTuple):
    """Why there was no permit for one channel."""

    channel: str
    exceeded: str = ""
    available: int = 0
    policy_id: str = ""
    unchecked: bool = False


class Verdict(NamedTuple):
    """Whether there was a permit, and what is used."""

    allowed: bool
    daily_used: int
    """This one included when it is allowed."""
    weekly_used: int
    """This one included when it is allowed."""
    exceeded: str = ""
    """The full window that takes longest to have room again."""
    available: int = 0
    """When there will be a permit, in microseconds; 0 where there never is one."""
    policy_id: str = ""
    """Whose window is full."""
    unchecked: bool = False
    """Whether nothing could be counted."""
    refusals: tuple[Refusal, ...] = ()
    """The channels for which there was none."""


class Usage(NamedTuple):
    """What is used at a moment."""

    daily: int
    weekly: int


def microseconds(moment: datetime) -> int:
    """The moment as whole microseconds since the epoch."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(microseconds: int) -> datetime:
    """The inverse of ``microseconds``."""
    return _EPOCH + microseconds * _MICROSECOND


def usage(times: Sequence[int], now: int) -> Usage:
    """What counts at ``now``, of times in ascending order."""
    return Usage(
        len(times) - bisect_right(times, now - DAY),
        len(times) - bisect_right(times, now - WEEK),
    )


def judge(times: Sequence[int], now: int, limit: Limit) -> Verdict:
    """Judges one more permit at ``now``; ``times`` are those taken, ascending."""
    used = usage(times, now)
    if used.daily < limit.daily and used.weekly < limit.weekly:
        return Verdict(True, used.daily + 1, used.weekly + 1)
    if not limit.daily:
        return Verdict(False, *used, exceeded=DAILY)
    if not limit.weekly:
        return Verdict(False, *used, exceeded=WEEKLY)
    # There is room when the limit-th newest permit leaves its window.
    daily = times[-limit.daily] + DAY if used.daily >= limit.daily else 0
    weekly = times[-limit.weekly] + WEEK if used.weekly >= limit.weekly else 0
    if weekly > daily:
        return Verdict(False, *used, exceeded=WEEKLY, available=weekly)
    return Verdict(False, *used, exceeded=DAILY, available=daily)
