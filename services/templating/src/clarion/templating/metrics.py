"""The instruments of the templates."""

from __future__ import annotations

from datetime import timedelta

from clarion.runtime.metrics import Attribute, Name, counter, histogram

_rendered = counter(Name.RENDERED)
_duration = histogram(Name.RENDER_DURATION)
_stale = counter(Name.RENDERED_STALE)


def record_batch(ok: int, not_found: int, invalid: int, took: timedelta) -> None:
    """One batch was rendered."""
    _duration.record(took.total_seconds())
    counts = {"ok": ok, "not_found": not_found, "invalid": invalid}
    for outcome, count in counts.items():
        if count:
            _rendered.add(count, {Attribute.OUTCOME: outcome})


def record_stale() -> None:
    """The database did not answer in time."""
    _stale.add(1)
