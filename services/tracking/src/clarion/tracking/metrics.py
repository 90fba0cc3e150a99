"""Every instrument of tracking."""

from __future__ import annotations

from datetime import timedelta

from clarion.runtime.metrics import Name, counter, histogram

_events = counter(Name.EVENTS_STORED)
_duplicates = counter(Name.EVENTS_DUPLICATE)
_rejected = counter(Name.EVENTS_REJECTED)
_batch = histogram(Name.EVENTS_BATCH_DURATION)


def record_batch(
    *, events: int, duplicates: int, rejected: int, took: timedelta
) -> None:
    """A batch was stored."""
    _events.add(events)
    if duplicates:
        _duplicates.add(duplicates)
    if rejected:
        _rejected.add(rejected)
    _batch.record(took.total_seconds())
