"""What the router counts."""

from __future__ import annotations

from clarion.router.deciding import PLANNED
from clarion.runtime.metrics import Attribute, Name, counter

_accepted = counter(Name.ACCEPTED)
_refused = counter(Name.REFUSED)
_planned = counter(Name.PLANNED)
_skipped = counter(Name.SKIPPED)


def record_accepted(lane: str, count: int) -> None:
    """Notifications were stored on a lane."""
    _accepted.add(count, {Attribute.LANE: lane})


def record_refused(reason: str, count: int = 1) -> None:
    """Notifications were refused."""
    _refused.add(count, {Attribute.REASON: reason})


def record_decision(
    channel: str, lane: str, outcome: str, reason: str, count: int
) -> None:
    """A channel was decided: so many deliveries planned, or none and why."""
    if outcome == PLANNED:
        _planned.add(count, {Attribute.CHANNEL: channel, Attribute.LANE: lane})
    else:
        _skipped.add(
            count, {Attribute.CHANNEL: channel, Attribute.REASON: reason or outcome}
        )
