"""What is counted, and over which spans it is asked for. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from clarion.api.event.v1 import notification_event_pb2 as event_pb2
from clarion.runtime.errors import InvalidArgumentError

METRICS = (
    "accepted",
    "planned",
    "sent",
    "delivered",
    "opened",
    "clicked",
    "read",
    "failed",
    "skipped",
    "rate_limited",
)
DEFAULT_METRICS = ("sent", "delivered", "opened", "clicked")
BREAKDOWNS = ("channel", "type", "category", "day", "none")
DEFAULT_BREAKDOWN = "channel"
DEFAULT_PERIOD = "last_7_days"

_K = event_pb2.EventKind
KIND_METRICS: Mapping[int, str] = {
    _K.EVENT_KIND_SENT: "sent",
    _K.EVENT_KIND_DELIVERED: "delivered",
    _K.EVENT_KIND_OPENED: "opened",
    _K.EVENT_KIND_CLICKED: "clicked",
    _K.EVENT_KIND_READ: "read",
    _K.EVENT_KIND_FAILED: "failed",
    _K.EVENT_KIND_DEAD_LETTERED: "failed",
    _K.EVENT_KIND_UNDELIVERED: "failed",
    _K.EVENT_KIND_SUPPRESSED: "skipped",
}
"""Event kind -> what one such event adds 1 to."""

OUTCOME_METRICS: Mapping[str, str] = {
    "planned": "planned",
    "skipped": "skipped",
    "suppressed": "skipped",
    "rate_limited": "rate_limited",
    "failed": "failed",
}
"""Outcome of a channel's decision -> what it adds to; planned adds its deliveries."""


class Grain(Enum):
    """How fine a roll-up is; the value is PostgreSQL's word."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Period:
    """A span that ends now and how it is rolled up."""

    length: timedelta
    grain: Grain

    def start(self, now: datetime) -> datetime:
        """Where it begins: a bucket's edge, so the counts are of whole buckets."""
        start = (now - self.length).replace(second=0, microsecond=0)
        if self.grain is not Grain.MINUTE:
            start = start.replace(minute=0)
        return start.replace(hour=0) if self.grain is Grain.DAY else start


PERIODS: Mapping[str, Period] = {
    "last_hour": Period(timedelta(hours=1), Grain.MINUTE),
    "last_24_hours": Period(timedelta(hours=24), Grain.HOUR),
    "last_7_days": Period(timedelta(days=7), Grain.HOUR),
    "last_30_days": Period(timedelta(days=30), Grain.DAY),
    "last_90_days": Period(timedelta(days=90), Grain.DAY),
}

GRAIN_RETENTION: Mapping[Grain, timedelta] = {
    Grain.MINUTE: timedelta(days=2),
    Grain.HOUR: timedelta(days=35),
    Grain.DAY: timedelta(days=800),
}
"""How long buckets are kept: longer than any period that reads them."""


@dataclass(frozen=True, slots=True)
class Question:
    """A checked request."""

    period: str
    metrics: tuple[str, ...]
    breakdown: str

    @classmethod
    def parse(cls, period: str, metrics: str, breakdown: str) -> Question:
        """Fills in defaults; InvalidArgumentError names the field and the values."""
        names = tuple(
            dict.fromkeys(name for part in metrics.split(",") if (name := part.strip()))
        )
        period, breakdown = period or DEFAULT_PERIOD, breakdown or DEFAULT_BREAKDOWN
        for name in names:
            _check("metrics", name, METRICS)
        _check("period", period, tuple(PERIODS))
        _check("breakdown", breakdown, BREAKDOWNS)
        return cls(period, names or DEFAULT_METRICS, breakdown)


def _check(field: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidArgumentError.of(
            field, f"must be of {', '.join(allowed)}", f"{field}.in"
        )
