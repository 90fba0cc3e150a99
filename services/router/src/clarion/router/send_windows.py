"""Send windows: when the sender wants to be heard, by the person's clock. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

from clarion.api.recipients.v1.recipient_pb2 import QuietHours
from clarion.api.router.v1.notification_pb2 import SendWindow as SendWindowMessage
from clarion.router.quiet_hours import change_of_clocks, is_quiet, quiet_until
from clarion.runtime.time_zones import zone_of

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_DAY = timedelta(days=1)
_LONGEST_WAIT = timedelta(days=22)
"""A week, and twice more where the only time of a week is one that a clock change
skips: what has not opened by then never does."""
_MOST_STEPS = 100


@dataclass(frozen=True, slots=True)
class SendWindow:
    """A span of the wall clock on some days, start included and end not.

    One over midnight belongs to the day of its start; one whose start is its end is the
    whole day.
    """

    start: time
    end: time
    days: frozenset[int]
    """0 is Monday."""
    time_zone: str
    """Empty: the person's."""

    @property
    def words(self) -> str:
        """As a reader of a decision sees it."""
        days = ",".join(DAYS[day] for day in sorted(self.days))
        return f"{self.start:%H:%M} to {self.end:%H:%M} on {days}"

    def holds(self, wall: datetime) -> bool:
        """Whether a wall-clock time without a zone lies in it."""
        now, day = wall.time(), wall.weekday()
        if self.start < self.end:
            return day in self.days and self.start <= now < self.end
        if self.start == self.end:
            return day in self.days
        return (day in self.days and now >= self.start) or (
            (day - 1) % 7 in self.days and now < self.end
        )

    def next_start(self, wall: datetime) -> datetime:
        """The first wall-clock time not before ``wall`` that lies in it."""
        if self.holds(wall):
            return wall
        begins = time() if self.start == self.end else self.start
        for days in range(9):
            day: date = wall.date() + timedelta(days=days)
            start = datetime.combine(day, begins)
            if start >= wall and day.weekday() in self.days:
                return start
        raise ValueError("a window has a day")


def window_of(message: SendWindowMessage) -> SendWindow:
    """A window that was checked; without days it is every day."""
    return _window(message.start, message.end, tuple(message.days), message.timezone)


@lru_cache(maxsize=2048)
def _window(start: str, end: str, days: Sequence[str], zone: str) -> SendWindow:
    return SendWindow(
        time.fromisoformat(start),
        time.fromisoformat(end),
        frozenset(DAYS.index(day) for day in days) or frozenset(range(7)),
        zone,
    )


@lru_cache(maxsize=1024)
def opening(window: SendWindow, time_zone: str, now: datetime) -> datetime | None:
    """The first instant not before ``now`` that lies in the window, in UTC.

    ``time_zone`` is the person's; unknown ones are UTC. None when it never opens: its
    only days are ones that the zone leaves out.
    """
    zone = zone_of(window.time_zone or time_zone or "UTC")
    at = now.astimezone(UTC)
    limit = at + _LONGEST_WAIT
    while at < limit:
        here = at.astimezone(zone)
        wall = here.replace(tzinfo=None)
        opens = at + (window.next_start(wall) - wall)
        end = at + _DAY
        if end.astimezone(zone).utcoffset() != here.utcoffset():
            # The clocks change: what begins before that begins as computed.
            end = change_of_clocks(zone, at, end)
            if opens >= end:
                at = end
                continue
        if opens <= end:
            return opens
        at = end
    return None


def first_chance(
    window: SendWindow | None,
    quiet_hours: QuietHours | None,
    time_zone: str,
    now: datetime,
) -> datetime | None:
    """The first instant not before ``now`` that is in the window and not quiet.

    None for a pair that has no instant in common.
    """
    at: datetime | None = now.astimezone(UTC)
    limit = now + _LONGEST_WAIT
    for _ in range(_MOST_STEPS):
        if at is None or at > limit:
            return None
        before = at
        if quiet_hours is not None and is_quiet(quiet_hours, time_zone, at):
            at = quiet_until(quiet_hours, time_zone, at)
        if at is not None and window is not None:
            at = opening(window, time_zone, at)
        if at == before:
            return at
    return None
