"""For how long a digest collects. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from clarion.api.event.v1.work_pb2 import DigestFold
from clarion.router.schedules.cron import next_after, parse
from clarion.runtime.time_zones import zone_of

FIXED = "fixed"
SLIDING = "sliding"
CRON = "cron"

MOST_ITEMS = 200
"""Of one window: it closes early with them."""
MOST_BYTES = 48 * 1024
"""Of the items of one window, as they are written into its message: with the text it
stays under the 64 KiB that a notification may have. A larger one is alone."""
LATE = timedelta(seconds=5)
"""How long a window collects that opens after it was to close, because its first
notification had to wait: what waited with it comes along."""


_LEAST = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class DigestPolicy:
    """How the notifications of a type are collected."""

    mode: str = FIXED
    window: timedelta = timedelta(0)
    longest: timedelta | None = None
    """How long after its first one a sliding window closes in any case."""
    cron: str = ""
    time_zone: str = ""
    """Of cron. Empty: the person's."""
    template_id: str = ""
    """For two and more together."""


@dataclass(frozen=True, slots=True)
class Span:
    """When a window closes."""

    closes: datetime
    latest: datetime
    """What comes later can move it no further than that."""

    def joined(self, later: Span) -> Span:
        """The span of this window with one more in it, which alone had the other."""
        closes = min(max(self.closes, later.closes), self.latest)
        return Span(closes, self.latest)


@dataclass(frozen=True, slots=True)
class Wait:
    """How long one notification wants its window to be open."""

    window: timedelta = timedelta(0)
    longest: timedelta | None = None
    closes: datetime | None = None
    """Wins over ``window``."""

    def span(self, now: datetime) -> Span:
        """The window that it opens now."""
        if self.closes is not None:
            closes = self.closes if self.closes > now else now + LATE
            return Span(closes, closes)
        closes = now + max(self.window, _LEAST)
        return Span(closes, closes if self.longest is None else now + self.longest)


def wait_of(policy: DigestPolicy, time_zone: str, now: datetime) -> Wait:
    """How long a notification waits that is decided now; the zone is the person's."""
    if policy.mode != CRON:
        return Wait(policy.window, policy.longest)
    zone = zone_of(policy.time_zone or time_zone)
    return Wait(closes=next_after(parse(policy.cron), zone, now) or now)


def write(wait: Wait, fold: DigestFold) -> None:
    """Puts it into the message that travels."""
    if wait.closes is not None:
        fold.closes_time.FromDatetime(wait.closes)
        return
    fold.window.FromTimedelta(wait.window)
    if wait.longest is not None:
        fold.longest.FromTimedelta(wait.longest)


def read(fold: DigestFold) -> Wait:
    """What ``write`` put there."""
    if fold.HasField("closes_time"):
        return Wait(closes=fold.closes_time.ToDatetime(UTC))
    longest = fold.longest.ToTimedelta() if fold.HasField("longest") else None
    return Wait(fold.window.ToTimedelta(), longest)
