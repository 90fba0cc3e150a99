"""Every instrument of tracking."""

from __future__ import annotations

from datetime import timedelta

from clarion.runtime.telemetry import meter

_events = meter().create_counter(
    "clarion.tracking.events", unit="{event}", description="Events stored"
)
_duplicates = meter().create_counter(
    "clarion.tracking.duplicates",
    unit="{event}",
    description="Events that had been stored before",
)
_rejected = meter().create_counter(
    "clarion.tracking.rejected",
    unit="{event}",
    description="Malformed events that were put aside",
)
_batch = meter().create_histogram(
    "clarion.tracking.batch.duration",
    unit="s",
    description="Time to store a batch, waiting for its turn included",
)
_age = meter().create_histogram(
    "clarion.tracking.queue.age",
    unit="s",
    description="How long the oldest message of a batch had waited in EVENTS",
)


def record_batch(
    *, events: int, duplicates: int, rejected: int, took: timedelta, age: timedelta
) -> None:
    """A batch was stored."""
    _events.add(events)
    if duplicates:
        _duplicates.add(duplicates)
    if rejected:
        _rejected.add(rejected)
    _batch.record(took.total_seconds())
    _age.record(age.total_seconds())
