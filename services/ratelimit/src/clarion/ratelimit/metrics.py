"""The instruments of the rate limiter."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from clarion.ratelimit.window import Verdict
from clarion.runtime.metrics import Attribute, Name, counter, histogram

_permits = counter(Name.PERMITS)
_released = counter(Name.PERMITS_RELEASED)
_duration = histogram(Name.ACQUIRE_DURATION)


def record_acquired(verdicts: Sequence[Verdict], took: timedelta) -> None:
    """One batch was judged."""
    _duration.record(took.total_seconds())
    if verdicts and verdicts[0].unchecked:
        # Then all of them are, but for those that need no counting.
        allowed = sum(verdict.allowed for verdict in verdicts)
        _permits.add(allowed, {Attribute.OUTCOME: "unchecked_allowed"})
        _permits.add(len(verdicts) - allowed, {Attribute.OUTCOME: "unchecked_refused"})
        return
    exceeded = [verdict.exceeded for verdict in verdicts if not verdict.allowed]
    _permits.add(len(verdicts) - len(exceeded), {Attribute.OUTCOME: "allowed"})
    for window in set(exceeded):
        outcome: dict[str, str] = {Attribute.OUTCOME: f"{window}_exceeded"}
        _permits.add(exceeded.count(window), outcome)


def record_released(count: int) -> None:
    """Permits came back unused."""
    _released.add(count)
