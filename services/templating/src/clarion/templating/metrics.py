"""The instruments of the templates."""

from __future__ import annotations

from datetime import timedelta

from clarion.runtime.telemetry import meter

_meter = meter()
_rendered = _meter.create_counter(
    "clarion.templating.rendered",
    unit="{message}",
    description="Messages rendered, by outcome: ok, not_found or invalid.",
)
_duration = _meter.create_histogram(
    "clarion.templating.render.duration",
    unit="s",
    description="Time that one batch took.",
    explicit_bucket_boundaries_advisory=[
        *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
    ],
)
_stale = _meter.create_counter(
    "clarion.templating.stale",
    unit="{batch}",
    description="Batches rendered from older knowledge as the database did not answer.",
)


def record_batch(ok: int, not_found: int, invalid: int, took: timedelta) -> None:
    """One batch was rendered."""
    _duration.record(took.total_seconds())
    counts = {"ok": ok, "not_found": not_found, "invalid": invalid}
    for outcome, count in counts.items():
        if count:
            _rendered.add(count, {"clarion.outcome": outcome})


def record_stale() -> None:
    """The database did not answer in time."""
    _stale.add(1)
