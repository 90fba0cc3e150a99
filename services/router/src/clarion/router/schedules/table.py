"""The schedules as they were asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from clarion.api.router.v1.notification_pb2 import Notification
from clarion.router.schedules.recurring import Recurring
from clarion.router.tables import WAIT_SECONDS, table_errors
from clarion.runtime.queries import queries_of

if TYPE_CHECKING:
    from psycopg_pool import AsyncConnectionPool

Identity = tuple[str, str]
"""Tenant and schedule id."""


class Kept(NamedTuple):
    """What became of a put."""

    now: Recurring
    """As stored, with its revision."""
    before: Recurring | None
    """As it was; its revision is the same when nothing changed."""


class ScheduleTable(Protocol):
    """Where schedules are kept. Every call raises UnavailableError."""

    async def put(self, schedule: Recurring) -> Kept:
        """Stores it; what says the same as before keeps its revision."""
        ...

    async def find(
        self, identities: Collection[Identity]
    ) -> Mapping[Identity, Recurring]:
        """Those that there are."""
        ...

    async def page(self, tenant: str, after: str, most: int) -> Sequence[Recurring]:
        """A tenant's, by id in byte order, from after that one."""
        ...

    async def revisions(
        self, after: Identity, most: int, since: datetime
    ) -> Sequence[tuple[str, str, int]]:
        """Tenant, id and revision of those of all tenants that had not ended then.

        By tenant and id in byte order, from after that one.
        """
        ...

    async def delete(self, tenant: str, schedule_id: str) -> Recurring | None:
        """Removes it; what it was."""
        ...


class PostgresScheduleTable:
    """Implements ScheduleTable on the router's schema."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._pool = pool
        self._queries = queries_of("clarion.router", "schedules.sql")

    async def put(self, schedule: Recurring) -> Kept:
        key = {"tenant": schedule.tenant, "id": schedule.schedule_id}
        with table_errors():
            async with self._pool.connection(timeout=WAIT_SECONDS) as connection:
                found = await connection.execute(self._queries["lock_schedule"], key)
                row = await found.fetchone()
                before = None if row is None else _schedule(row)
                if before is not None and before.is_like(schedule):
                    return Kept(before, before)
                values = {
                    **key,
                    "notification": schedule.notification.SerializeToString(
                        deterministic=True
                    ),
                    "cron": schedule.cron,
                    "time_zone": schedule.time_zone,
                    "start": schedule.start,
                    "end": schedule.end,
                    "key_id": schedule.key_id,
                    "changed": schedule.changed,
                }
                put = await connection.execute(self._queries["put_schedule"], values)
                ((revision,),) = await put.fetchall()
        return Kept(replace(schedule, revision=revision), before)

    async def find(
        self, identities: Collection[Identity]
    ) -> Mapping[Identity, Recurring]:
        tenants = [tenant for tenant, _ in identities]
        ids = [schedule_id for _, schedule_id in identities]
        found = await self._all("find_schedules", {"tenants": tenants, "ids": ids})
        return {schedule.identity: schedule for schedule in found}

    async def page(self, tenant: str, after: str, most: int) -> Sequence[Recurring]:
        values = {"tenant": tenant, "after": after, "most": most}
        return await self._all("page_schedules", values)

    async def revisions(
        self, after: Identity, most: int, since: datetime
    ) -> Sequence[tuple[str, str, int]]:
        tenant, schedule_id = after
        values = {"tenant": tenant, "id": schedule_id, "most": most, "since": since}
        return await self._fetch("revisions_of_schedules", values)

    async def delete(self, tenant: str, schedule_id: str) -> Recurring | None:
        values = {"tenant": tenant, "id": schedule_id}
        gone = await self._all("delete_schedule", values)
        return gone[0] if gone else None

    async def _all(self, query: str, values: Mapping[str, Any]) -> list[Recurring]:
        return [_schedule(row) for row in await self._fetch(query, values)]

    async def _fetch(self, query: str, values: Mapping[str, Any]) -> list[Any]:
        with table_errors():
            async with self._pool.connection(timeout=WAIT_SECONDS) as connection:
                found = await connection.execute(self._queries[query], values)
                rows: list[Any] = await found.fetchall()
        return rows


class InMemoryScheduleTable:
    """Implements ScheduleTable for tests. Set ``error`` to make every call raise it."""

    def __init__(self) -> None:
        self.rows: dict[Identity, Recurring] = {}
        self.error: Exception | None = None
        self._revision = 0

    async def put(self, schedule: Recurring) -> Kept:
        self._called()
        before = self.rows.get(schedule.identity)
        if before is not None and before.is_like(schedule):
            return Kept(before, before)
        self._revision += 1
        stored = replace(schedule, revision=self._revision)
        self.rows[schedule.identity] = stored
        return Kept(stored, before)

    async def find(
        self, identities: Collection[Identity]
    ) -> Mapping[Identity, Recurring]:
        self._called()
        return {name: self.rows[name] for name in identities if name in self.rows}

    async def page(self, tenant: str, after: str, most: int) -> Sequence[Recurring]:
        self._called()
        own = sorted(name for name in self.rows if name[0] == tenant)
        return [self.rows[name] for name in own if name[1] > after][:most]

    async def revisions(
        self, after: Identity, most: int, since: datetime
    ) -> Sequence[tuple[str, str, int]]:
        self._called()
        rest = (self.rows[name] for name in sorted(self.rows) if name > after)
        alive = [row for row in rest if row.end is None or row.end > since]
        return [(*row.identity, row.revision) for row in alive[:most]]

    async def delete(self, tenant: str, schedule_id: str) -> Recurring | None:
        self._called()
        return self.rows.pop((tenant, schedule_id), None)

    def _called(self) -> None:
        if self.error is not None:
            raise self.error


def _schedule(row: Sequence[Any]) -> Recurring:
    tenant, schedule_id, revision, notification, *rest = row
    return Recurring(
        tenant, schedule_id, revision, Notification.FromString(notification), *rest
    )
