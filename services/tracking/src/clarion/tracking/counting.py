"""How a batch changes the counters: each stored event counts exactly once. Pure.

The category is known from the decision only. What came before it is counted under no
category and moved when the decision comes, so the order of arrival leaves no trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from clarion.tracking.analytics import KIND_METRICS
from clarion.tracking.batch import Batch
from clarion.tracking.known import EarlierEvent
from clarion.tracking.story import ACCEPTED, Story

_MINUTE = 60_000_000

CounterKey = tuple[int, str, str, str, str, str]
"""(minute as microseconds since 2000, tenant, metric, channel, type, category)"""


def late(batch: Batch, known: Mapping[bytes, Story]) -> list[bytes]:
    """Notifications that had been counted without the category that came now."""
    return [
        id
        for id, before in known.items()
        if before.category is None
        and id in batch.stories
        and batch.stories[id].category is not None
    ]


def changes(
    batch: Batch,
    known: Mapping[bytes, Story],
    earlier: Iterable[EarlierEvent],
) -> dict[CounterKey, int]:
    """What to add to which counter.

    The batch has only events that are stored now; ``earlier`` are those stored before
    of the notifications that ``late`` named.
    """
    totals: dict[CounterKey, int] = {}
    events, stories = batch.events, batch.stories
    for position, metric, channel, number in batch.counts:
        id, _, at, _, _, tenant, _, type_, _, _ = events[position]
        category = _category(stories[id], known.get(id))
        key = (at // _MINUTE * _MINUTE, tenant, metric, channel, type_, category)
        totals[key] = totals.get(key, 0) + number
    for id, accepted in stories.items():
        _count_accepted(totals, accepted, known.get(id))
    for event in earlier:
        earlier_metric = KIND_METRICS.get(event.kind)
        row = stories.get(event.notification_id)
        if earlier_metric is not None and row is not None:
            minute = event.occurred_time // _MINUTE * _MINUTE
            key = (minute, row.tenant_id, earlier_metric, event.channel, event.type, "")
            _move(totals, key, row.category or "")
    return totals


def _category(row: Story, before: Story | None) -> str:
    if before is not None and before.category is not None:
        return before.category
    return row.category or ""


def _count_accepted(
    totals: dict[CounterKey, int], row: Story, before: Story | None
) -> None:
    if before is not None and before.facts & ACCEPTED:
        if before.category is None and row.category is not None:
            minute = before.accepted_time // _MINUTE * _MINUTE
            key = (minute, row.tenant_id, "accepted", "", before.type, "")
            _move(totals, key, row.category)
    elif row.facts & ACCEPTED:
        minute = row.accepted_time // _MINUTE * _MINUTE
        type_ = (before.type if before is not None else "") or row.type
        category = _category(row, before)
        key = (minute, row.tenant_id, "accepted", "", type_, category)
        totals[key] = totals.get(key, 0) + 1


def _move(totals: dict[CounterKey, int], key: CounterKey, category: str) -> None:
    totals[key] = totals.get(key, 0) - 1
    there = (*key[:5], category)
    totals[there] = totals.get(there, 0) + 1
