"""The instruments of the rate limiter."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from clarion.ratelimit.window import Verdict
from clarion.runtime.telemetry import meter

_meter = meter()
_permits = _meter.create_counter(
    "clarion.ratelimit.permits",
    unit="{permit}",
    description="Permits judged, by outcome: allowed, daily or weekly limit exceeded.",
)
_released = _meter.create_counter(
    "clarion.ratelimit.released",
    unit="{permit}",
    description="Permits given back.",
)
_duration = _meter.create_histogram(
    "clarion.ratelimit.acquire.duration",
    unit="s",
    description="Time that the store took to judge one batch.",
    explicit_bucket_boundaries_advisory=[
        *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
    ],
)


def record_acquired(verdicts: Sequence[Verdict], took: timedelta) -> None:
    """One batch was judged."""
    exceeded = [verdict.exceeded for verdict in verdicts if not verdict.allowed]
    _duration.record(took.total_seconds())
    _permits.add(len(verdicts) - len(exceeded), {"clarion.outcome": "allowed"})
    for window in set(exceeded):
        outcome = {"clarion.outcome": f"{window}_exceeded"}
        _permits.add(exceeded.count(window), outcome)


def record_released(count: int) -> None:
    """Permits came back unused."""
    _released.add(count)
