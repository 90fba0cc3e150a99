"""Stores batches: one transaction each, every row written once, repeats folded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import psycopg
from psycopg import AsyncCursor
from psycopg_pool import AsyncConnectionPool

from clarion.tracking import columns, composites, copying, counting, partitions
from clarion.tracking.arrivals import Arrivals
from clarion.tracking.batch import Batch
from clarion.tracking.broadcasts import BroadcastChanges
from clarion.tracking.copying import DAY_MICROS, Types
from clarion.tracking.database_errors import translated
from clarion.tracking.event_values import EPOCH, micros_of
from clarion.tracking.known import EarlierEvent
from clarion.tracking.queries import QUERIES
from clarion.tracking.story import Story

TURN = 0x636C6172696F6E
"""Key of the advisory lock that writers of one database share."""

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
            _day(day * DAY_MICROS)
            for day in {event[2] // DAY_MICROS for event in batch.events}
        }
        with translated():
            try:
                async with self._pool.connection() as connection:
                    columns.register(connection)
                    async with connection.cursor(binary=True) as cursor:
                        types = await _turn(cursor)
                        if not days <= self._days:
                            await partitions.create(connection, days)
                        duplicates = await _store(cursor, batch, types)
            except psycopg.IntegrityError:
                # A day was dropped behind our back; the next try looks again.
                self._days.clear()
                raise
        self._days |= days
        self._arrivals.announce(batch.stories.keys())
        return Written(len(batch) - duplicates, duplicates)


def _long(value: bytes) -> int:
    return int.from_bytes(value, "big", signed=True)


def _day(at: int) -> date:
    return (EPOCH + timedelta(microseconds=at)).date()


async def _store(cursor: Cursor, batch: Batch, types: Types) -> int:
    """Answers how many events had been stored before."""
    await _reject(cursor, batch)
    if not len(batch):
        return 0
    known = await _take_known(cursor, batch)
    # All that is stored is a function of the stored events: a repetition that says
    # something else (a decision made again after a crash) must not be half believed.
    repeated = {
        event_id
        for id, event_id, *_ in (batch.events if known else ())
        if id in known and known[id].has(event_id)
    }
    fresh = batch.without(repeated) if repeated else batch
    late = counting.late(fresh, known)
    earlier = await _earlier(cursor, late) if late else []
    changes = counting.changes(fresh, known, earlier)
    stories = fresh.stories | known
    broadcasts = BroadcastChanges()
    broadcasts.leaves(known.values())
    for id, story in known.items():
        if id in fresh.stories:
            story.goes_on(fresh.stories[id])
    broadcasts.enters(stories.values())
    await _copy(cursor, "copy_notifications", copying.notifications(stories, types))
    if len(fresh):
        await _copy(cursor, "copy_events", copying.events(fresh.events))
        await _count(cursor, changes)
    if rows := broadcasts.rows():
        await _count_states(cursor, rows)
    return len(repeated)


async def _run(cursor: Cursor, name: str, parameters: Mapping[str, object]) -> None:
    # Planned anew each time: a plan for ten rows is a disaster for ten thousand.
    await cursor.execute(QUERIES[name], parameters, prepare=False)


async def _copy(cursor: Cursor, name: str, rows: bytes) -> None:
    async with cursor.copy(QUERIES[name]) as copy:
        await copy.write(rows)


async def _turn(cursor: Cursor) -> Types:
    await cursor.execute(QUERIES["turn_and_types"], {"key": TURN})
    row = await cursor.fetchone()
    if row is None or None in row:
        raise psycopg.errors.UndefinedObject("not migrated")
    return Types(*row)


async def _take_known(cursor: Cursor, batch: Batch) -> dict[bytes, Story]:
    ids = columns.uuids(list(batch.stories))
    await _run(cursor, "take_known", {"notification_id": ids})
    return {row[0]: _story(row) for row in await cursor.fetchall()}


def _story(row: tuple[Any, ...]) -> Story:
    _, tenant, user, type_, accepted, facts, category, priority, due, *more = row
    event_ids, deliveries, attempts, broadcast_id = more
    return Story(
        *(tenant, user, type_, _long(accepted), facts, category, priority),
        due_time=None if due is None else _long(due),
        event_ids=event_ids,
        deliveries=composites.deliveries_of(deliveries),
        attempts=composites.attempts_of(attempts),
        broadcast_id=broadcast_id,
    )


async def _earlier(cursor: Cursor, late: list[bytes]) -> list[EarlierEvent]:
    ids = columns.uuids(late)
    await _run(cursor, "earlier_events", {"notification_id": ids})
    return [
        EarlierEvent(id, kind, channel, type_, micros_of(occurred))
        for id, kind, channel, type_, occurred in await cursor.fetchall()
    ]


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


async def _count_states(
    cursor: Cursor, rows: list[tuple[bytes, int, int, int]]
) -> None:
    ids, masks, numbers, times = zip(*rows, strict=True)
    parameters = {
        "broadcast_id": columns.uuids(ids),
        "mask": columns.ints(masks),
        "number": columns.longs(numbers),
        "accepted_time": columns.times(times),
    }
    await _run(cursor, "add_broadcast_states", parameters)


async def _reject(cursor: Cursor, batch: Batch) -> None:
    if not batch.rejected:
        return
    parameters = {
        "digest": columns.blobs([rejected.digest for rejected in batch.rejected]),
        "problem": columns.texts([rejected.problem for rejected in batch.rejected]),
        "body": columns.blobs([rejected.body for rejected in batch.rejected]),
    }
    await _run(cursor, "reject_events", parameters)
