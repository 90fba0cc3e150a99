"""The windows of digests in Postgres."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from clarion.api.event.v1.work_pb2 import DigestFold
from clarion.router.digests.table import (
    Closing,
    Collected,
    Entry,
    Key,
    Window,
    fillings,
)
from clarion.router.tables import WAIT_SECONDS, table_errors
from clarion.runtime.queries import queries_of

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from psycopg_pool import AsyncConnectionPool

_OPEN, _CLOSED, _SENT = range(3)
Ask = Callable[[str, Mapping[str, Any]], Awaitable[list[Any]]]


class PostgresDigestTable:
    """Implements DigestTable on the router's schema.

    Workers that collect into the same window take turns by its row; those that have the
    same item, after a redelivery, by the item's.
    """

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._pool = pool
        self._queries = queries_of("clarion.router", "digests.sql")

    async def collect(self, entries: Sequence[Entry], now: datetime) -> Collected:
        batch = {entry.key: entry for entry in reversed(entries)}
        with table_errors():
            async with self._pool.connection(timeout=WAIT_SECONDS) as connection:
                turn = _Turn(connection, self._queries, now)
                return await turn.collect(batch)

    async def close(
        self, window_ids: Sequence[str], now: datetime
    ) -> Mapping[str, Closing | Window]:
        early: dict[str, Window] = {}
        closed_at: dict[str, datetime] = {}
        folds: dict[str, list[DigestFold]] = defaultdict(list)
        over: list[str] = []

        async with self._transaction() as ask:
            for row in await ask("lock_windows", {"window_ids": list(window_ids)}):
                window_id, tenant, lane, state, closes, closed = row
                if state == _OPEN and closes > now:
                    early[window_id] = Window(tenant, window_id, lane, closes)
                elif state == _OPEN:
                    over.append(window_id)
                    closed_at[window_id] = now
                elif state == _CLOSED:
                    closed_at[window_id] = closed
            if over:
                await ask("close_windows", {"window_ids": over, "now": now})
            if closed_at:
                values = {"window_ids": list(closed_at)}
                for window_id, fold in await ask("items_of_windows", values):
                    folds[window_id].append(DigestFold.FromString(fold))
        closings = {id: Closing(at, folds[id]) for id, at in closed_at.items()}
        return {**early, **closings}

    async def sent(self, window_ids: Sequence[str], now: datetime) -> None:
        values = {"window_ids": list(window_ids), "now": now}
        await self._execute("sent_windows", values)

    async def remove(self, tenant: str, notification_id: str) -> int:
        values = {"tenant_id": tenant, "notification_id": notification_id}
        with table_errors():
            async with self._pool.connection(timeout=WAIT_SECONDS) as connection:
                found = await connection.execute(
                    self._queries["lock_windows_of"], values
                )
                ids = [window_id for (window_id,) in await found.fetchall()]
                if not ids:
                    return 0
                gone = await connection.execute(
                    self._queries["cancel_items"], {**values, "window_ids": ids}
                )
                return int(gone.rowcount)

    async def overdue(self, before: datetime, most: int) -> Sequence[Window]:
        with table_errors():
            async with self._pool.connection(timeout=WAIT_SECONDS) as connection:
                found = await connection.execute(
                    self._queries["overdue"], {"before": before, "most": most}
                )
                return [Window(*row) for row in await found.fetchall()]

    async def prune(self, before: datetime, most: int) -> int:
        return await self._execute("prune", {"before": before, "most": most})

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Ask]:
        with table_errors():
            async with self._pool.connection(timeout=WAIT_SECONDS) as connection:

                async def ask(query: str, values: Mapping[str, Any]) -> list[Any]:
                    done = await connection.execute(self._queries[query], values)
                    return await done.fetchall() if done.description else []

                yield ask

    async def _execute(self, query: str, values: Mapping[str, Any]) -> int:
        with table_errors():
            async with self._pool.connection(timeout=WAIT_SECONDS) as connection:
                done = await connection.execute(self._queries[query], values)
                return int(done.rowcount)


class _Turn:
    """One transaction that collects."""

    def __init__(
        self,
        connection: AsyncConnection[Any],
        queries: Mapping[str, bytes],
        now: datetime,
    ) -> None:
        self._connection = connection
        self._queries = queries
        self._now = now
        self._timers: dict[str, Window] = {}

    async def collect(self, batch: Mapping[Key, Entry]) -> Collected:
        # First the items: what is known opens no window.
        new = await self._insert(batch)
        placed: dict[str, list[Entry]] = {}
        waiting = fillings([batch[key] for key in new])
        while waiting:
            placed |= await self._fill(waiting)
            waiting = {name: one for name, one in waiting.items() if one.waiting}
        if placed:
            of_entries = [
                (*entry.key, window_id)
                for window_id, entries in placed.items()
                for entry in entries
            ]
            names = ("tenant_ids", "notification_ids", "releases", "window_ids")
            await self._all("place_items", _columns(names, of_entries))
        places: dict[Key, Window] = {}
        keys = _columns(("tenant_ids", "notification_ids", "releases"), list(batch))
        for row in await self._fetch("places", keys):
            key: Key = row[:3]
            *_, window_id, lane, closes, state = row
            places[key] = Window(key[0], window_id, lane, closes)
            if key not in new and state != _SENT:
                self._timers[window_id] = places[key]
        return Collected(places, self._timers)

    async def _insert(self, batch: Mapping[Key, Entry]) -> set[Key]:
        names = (
            "tenant_ids",
            "notification_ids",
            "releases",
            "accepted_times",
            "folds",
        )
        rows = [
            (*key, entry.accepted, entry.fold.SerializeToString())
            for key, entry in batch.items()
        ]
        return set(await self._fetch("insert_items", _columns(names, rows)))

    async def _fill(self, waiting: Mapping[str, Any]) -> dict[str, list[Entry]]:
        """Fills the open window of each bucket, or a new one, with what it can take."""
        asked = []
        for bucket, filling in waiting.items():
            span = filling.span(self._now)
            new_id = str(uuid.uuid4())
            asked.append(
                (new_id, filling.tenant, bucket, filling.lane, span.closes, span.latest)
            )
        new_ids = {row[0] for row in asked}
        names = (
            "window_ids",
            "tenant_ids",
            "buckets",
            "lanes",
            "closes_times",
            "latest_times",
        )
        given = {**_columns(names, asked), "now": self._now}
        placed: dict[str, list[Entry]] = {}
        fills = []
        for row in await self._fetch("open_windows", given):
            bucket, window_id, lane, closes, items, size = row
            filling = waiting[bucket]
            tenant, moves = filling.tenant, filling.moves
            taken, is_full = filling.take(closes <= self._now, items, size)
            placed[window_id] = taken
            added = sum(entry.size for entry in taken)
            fills.append((window_id, len(taken), added, is_full))
            if is_full:
                closes = min(closes, self._now)
            if is_full or moves or window_id in new_ids:
                self._timers[window_id] = Window(tenant, window_id, lane, closes)
        filled = _columns(("window_ids", "items", "bytes", "full"), fills)
        await self._all("fill_windows", {**filled, "now": self._now})
        return placed

    async def _fetch(
        self, query: str, values: Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        found = await self._connection.execute(self._queries[query], values)
        rows: list[tuple[Any, ...]] = await found.fetchall()
        return rows

    async def _all(self, query: str, values: Mapping[str, Any]) -> None:
        await self._connection.execute(self._queries[query], values)


def _columns(
    names: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> dict[str, list[Any]]:
    return {name: [row[index] for row in rows] for index, name in enumerate(names)}
