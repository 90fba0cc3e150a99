"""Reads that escalations could not be told of yet, kept until they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from clarion.runtime.postgres import postgres_errors
from clarion.runtime.queries import queries_of

if TYPE_CHECKING:
    from psycopg_pool import AsyncConnectionPool

_QUERIES = queries_of("clarion.inapp")


class Unmarked(Protocol):
    """Every call raises UnavailableError while it does not answer."""

    async def keep(self, tenant: str, notification_ids: Sequence[str]) -> None:
        """Stores them; repeating it changes nothing."""
        ...

    async def some(self, limit: int) -> Mapping[str, Sequence[str]]:
        """Ids of at most so many notifications, by tenant."""
        ...

    async def remove(self, tenant: str, notification_ids: Sequence[str]) -> None:
        """They are told; repeating it changes nothing."""
        ...


class PostgresUnmarked:
    """Implements Unmarked for all processes of the service together."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def keep(self, tenant: str, notification_ids: Sequence[str]) -> None:
        await self._change("keep_unmarked", tenant, notification_ids)

    async def some(self, limit: int) -> Mapping[str, Sequence[str]]:
        with postgres_errors():
            async with self._pool.connection() as connection:
                found = await connection.execute(
                    _QUERIES["some_unmarked"], {"limit": limit}
                )
                return dict(await found.fetchall())

    async def remove(self, tenant: str, notification_ids: Sequence[str]) -> None:
        await self._change("remove_unmarked", tenant, notification_ids)

    async def _change(
        self, query: str, tenant: str, notification_ids: Sequence[str]
    ) -> None:
        values = {"tenant": tenant, "notifications": list(notification_ids)}
        with postgres_errors():
            async with self._pool.connection() as connection:
                await connection.execute(_QUERIES[query], values)


class InMemoryUnmarked:
    """Implements Unmarked for tests."""

    def __init__(self) -> None:
        self.kept: dict[str, set[str]] = {}

    async def keep(self, tenant: str, notification_ids: Sequence[str]) -> None:
        self.kept.setdefault(tenant, set()).update(notification_ids)

    async def some(self, limit: int) -> Mapping[str, Sequence[str]]:
        return {tenant: sorted(ids)[:limit] for tenant, ids in self.kept.items() if ids}

    async def remove(self, tenant: str, notification_ids: Sequence[str]) -> None:
        self.kept.get(tenant, set()).difference_update(notification_ids)
