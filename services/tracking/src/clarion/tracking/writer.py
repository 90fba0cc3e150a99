"""Stores batches: one transaction each, every row written once, repeats folded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import psycopg
from psycopg import AsyncCursor
from psycopg_pool import AsyncConnectionPool

from clarion.tracking import columns, counting, partitions, state
from clarion.tracking.arrivals import Arrivals
from clarion.tracking.batch import Batch
from clarion.tracking.database_errors import translated
from clarion.tracking.event_values import EPOCH, NO_ID, micros_of
from clarion.tracking.known import EarlierEvent, Known
from clarion.tracking.queries import QUERIES

TURN = 0x636C6172696F6E
"""Key of the advisory lock that writers of one database share."""

_DAY_MICROS = 86_400_000_000
_ONE_DAY = timedelta(days=1)

Cursor = AsyncCursor[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a batch."""

    events: int
    """Stored now."""
    duplicates: int
    """Stored before; they changed nothing."""


class Writer:
    """Writes batches of events. Several may run at once, in any number of processes."""

    def __init__(self, pool: AsyncConnectionPool, arrivals: Arrivals) -> None:
        self._pool = pool
        self._arrivals = arrivals
        self._days: set[date] = set()

    async def write(self, batch: Batch) -> Written:
        """Stores the batch as a whole or not at all; repeating it is safe.

        Raises UnavailableError while the database does not serve: the batch may have
        been stored then, which a repetition finds out by itself.
        """
        days = {
            _day(day * _DAY_MICROS)
            for day in {at // _DAY_MICROS for at in batch.events.occurred_time}
        }
        with translated():
            try:
                async with self._pool.connection() as connection:
                    columns.register(connection)
                    async with connection.cursor(binary=True) as cursor:
                        await cursor.execute(QUERIES["take_turn"], {"key": TURN})
                        if not days <= self._days:
                            await partitions.create(connection, days)
                        duplicates = await _store(cursor, batch)
            except psycopg.IntegrityError:
                # A day was dropped behind our back; the next try looks again.
                self._days.clear()
                raise
        self._days |= days
        self._arrivals.announce(batch.notifications.keys())
        return Written(len(batch) - duplicates, duplicates)


def _day(at: int) -> date:
    return (EPOCH + timedelta(microseconds=at)).date()


async def _store(cursor: Cursor, batch: Batch) -> int:
    """Answers how many events had been stored before."""
    await _reject(cursor, batch)
    if not len(batch):
        return 0
    known = await _known(cursor, batch)
    late = counting.late(batch, known)
    earlier = await _earlier(cursor, late) if late else []
    beside = await _stored_beside(cursor, batch, known)
    fresh = batch.without(beside) if beside else batch
    folded = await _insert_events(cursor, fresh)
    # What follows is a function of the stored events: a repetition that says something
    # else (a decision made again after a crash) must not be half believed.
    fresh = fresh.without(folded) if folded else fresh
    if len(fresh):
        await _merge_deliveries(cursor, fresh)
        await _merge_attempts(cursor, fresh)
        await _merge_notifications(cursor, fresh)
        await _count(cursor, counting.changes(fresh, known, earlier))
    return len(beside) + len(folded)


async def _run(cursor: Cursor, name: str, parameters: Mapping[str, object]) -> None:
    # Planned anew each time: a plan for ten rows is a disaster for ten thousand.
    await cursor.execute(QUERIES[name], parameters, prepare=False)


async def _known(cursor: Cursor, batch: Batch) -> dict[bytes, Known]:
    ids = columns.uuids(list(batch.notifications))
    await _run(cursor, "known_notifications", {"notification_id": ids})
    return {
        id: Known(facts, category, type_, micros_of(accepted))
        for id, facts, category, type_, accepted in await cursor.fetchall()
    }


async def _earlier(cursor: Cursor, late: list[bytes]) -> list[EarlierEvent]:
    ids = columns.uuids(late)
    await _run(cursor, "earlier_events", {"notification_id": ids})
    return [
        EarlierEvent(id, kind, channel, type_, micros_of(occurred))
        for id, kind, channel, type_, occurred in await cursor.fetchall()
    ]


async def _stored_beside(
    cursor: Cursor, batch: Batch, known: Mapping[bytes, Known]
) -> set[int]:
    """Positions of the events that were stored under the day before or after."""
    events = batch.events
    asked = [n for n, id in enumerate(events.notification_id) if id in known]
    if not asked:
        return set()
    times = [events.occurred_time[n] for n in asked]
    parameters = {
        "notification_id": columns.uuids([events.notification_id[n] for n in asked]),
        "event_id": columns.uuids([events.event_id[n] for n in asked]),
        "occurred_time": columns.times(times),
        "first": _day(min(times)) - _ONE_DAY,
        "last": _day(max(times)) + _ONE_DAY,
    }
    await _run(cursor, "stored_beside", parameters)
    return {asked[position] for (position,) in await cursor.fetchall()}


async def _insert_events(cursor: Cursor, batch: Batch) -> set[int]:
    events = batch.events
    parameters = {
        "notification_id": columns.uuids(events.notification_id),
        "event_id": columns.uuids(events.event_id),
        "occurred_time": columns.times(events.occurred_time),
        "delivery_id": columns.uuids(events.delivery_id),
        "kind": columns.shorts(events.kind),
        "tenant_id": columns.texts(events.tenant_id),
        "channel": columns.texts(events.channel),
        "type": columns.texts(events.type),
        "reason": columns.texts(events.reason),
        "detail": columns.blobs(events.detail),
    }
    await _run(cursor, "insert_events", parameters)
    return {position for (position,) in await cursor.fetchall()}


async def _merge_deliveries(cursor: Cursor, batch: Batch) -> None:
    if not batch.deliveries:
        return
    notifications, deliveries, channels = zip(*batch.deliveries, strict=True)
    weights, statuses, reasons, times = zip(*batch.deliveries.values(), strict=True)
    parameters = {
        "notification_id": columns.uuids(notifications),
        "delivery_id": columns.uuids(deliveries),
        "channel": columns.texts(channels),
        "weight": columns.longs(weights),
        "status": columns.shorts(statuses),
        "reason": columns.texts(reasons),
        "status_time": columns.times(times),
    }
    await _run(cursor, "merge_deliveries", parameters)


async def _merge_attempts(cursor: Cursor, batch: Batch) -> None:
    if not batch.attempts:
        return
    notifications, deliveries, numbers = zip(*batch.attempts, strict=True)
    values = tuple(zip(*batch.attempts.values(), strict=True))
    outcomes, times, providers, reasons, message_ids, codes, latencies = values
    parameters = {
        "notification_id": columns.uuids(notifications),
        "delivery_id": columns.uuids(deliveries),
        "attempt": columns.shorts(numbers),
        "outcome": columns.shorts(outcomes),
        "attempt_time": columns.times(times),
        "provider": columns.texts(providers),
        "reason": columns.texts(reasons),
        "provider_message_id": columns.texts(message_ids),
        "provider_code": columns.texts(codes),
        "provider_latency": columns.longs(latencies),
    }
    await _run(cursor, "merge_attempts", parameters)


async def _merge_notifications(cursor: Cursor, batch: Batch) -> None:
    rows = batch.notifications.values()
    parameters = {
        "notification_id": columns.uuids(list(batch.notifications)),
        "tenant_id": columns.texts([row.tenant_id for row in rows]),
        "user_id": columns.texts([row.user_id for row in rows]),
        "type": columns.texts([row.type for row in rows]),
        "category": columns.texts([row.category for row in rows]),
        "priority": columns.texts([row.priority for row in rows]),
        "accepted_time": columns.times([row.accepted_time for row in rows]),
        "due_time": columns.times([row.due_time for row in rows]),
        "facts": columns.ints([row.facts for row in rows]),
        "good": state.GOOD,
        "bad": state.BAD,
        "put_off": state.PUT_OFF,
        "accepted": int(state.Fact.ACCEPTED),
        "no_id": NO_ID.hex(),
    }
    await _run(cursor, "merge_notifications", parameters)


async def _count(cursor: Cursor, changes: Mapping[counting.CounterKey, int]) -> None:
    if not changes:
        return
    minutes, tenants, metrics, channels, types, categories = zip(*changes, strict=True)
    parameters = {
        "minute": columns.times(minutes),
        "tenant_id": columns.texts(tenants),
        "metric": columns.texts(metrics),
        "channel": columns.texts(channels),
        "type": columns.texts(types),
        "category": columns.texts(categories),
        "number": columns.longs(list(changes.values())),
    }
    await _run(cursor, "add_counters", parameters)


async def _reject(cursor: Cursor, batch: Batch) -> None:
    if not batch.rejected:
        return
    parameters = {
        "digest": columns.blobs([rejected.digest for rejected in batch.rejected]),
        "problem": columns.texts([rejected.problem for rejected in batch.rejected]),
        "body": columns.blobs([rejected.body for rejected in batch.rejected]),
    }
    await _run(cursor, "reject_events", parameters)
