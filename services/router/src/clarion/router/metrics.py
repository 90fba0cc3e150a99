"""What the router counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from clarion.router.plan import PLANNED, Plan
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


def record_decisions(plans: Iterable[Plan]) -> None:
    """Channels were decided: so many deliveries planned, or none and why."""
    planned: Counter[tuple[str, str]] = Counter()
    skipped: Counter[tuple[str, str]] = Counter()
    for plan in plans:
        for channel in plan.channels:
            if channel.outcome == PLANNED:
                planned[channel.channel, plan.priority] += len(channel.targets)
            else:
                skipped[channel.channel, channel.reason or channel.outcome] += 1
    for (name, lane), count in planned.items():
        _planned.add(count, {Attribute.CHANNEL: name, Attribute.LANE: lane})
    for (name, reason), count in skipped.items():
        _skipped.add(count, {Attribute.CHANNEL: name, Attribute.REASON: reason})
