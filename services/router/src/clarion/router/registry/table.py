"""Where the tenants' types are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from clarion.api.router.v1.notification_type_service_pb2 import NotificationType
from clarion.router.tables import WAIT_SECONDS, table_errors
from clarion.runtime.errors import PreconditionError
from clarion.runtime.queries import queries_of

if TYPE_CHECKING:
    from psycopg_pool import AsyncConnectionPool

MOST_TYPES = 1000
"""Of one tenant: every router holds all of them."""


class Change(NamedTuple):
    """A type as it was put last."""

    tenant: str
    revision: int
    definition: NotificationType


class TypeTable(Protocol):
    """The types that tenants registered. Every call raises UnavailableError."""

    async def put(self, tenant: str, definition: NotificationType) -> None:
        """Stores a completed definition; PreconditionError for one too many."""
        ...

    async def delete(self, tenant: str, instead: NotificationType) -> bool:
        """Forgets the type of that name; whether there was one.

        ``instead`` is what holds from now on, for who asks for what changed.
        """
        ...

    async def of_tenant(self, tenant: str) -> Sequence[NotificationType]:
        """All of a tenant, by name in byte order."""
        ...

    async def changed(self, after: int, most: int) -> Sequence[Change]:
        """Of all tenants, what has a higher revision, the lowest first.

        What was put before has a lower revision, always.
        """
        ...


class PostgresTypeTable:
    """Implements TypeTable on the router's schema."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._pool = pool
        self._queries = queries_of("clarion.router", "notification_types.sql")

    async def put(self, tenant: str, definition: NotificationType) -> None:
        values = _row(tenant, definition)
        with table_errors():
            async with self._pool.connection(timeout=WAIT_SECONDS) as connection:
                await connection.execute(self._queries["take_turn"])
                found = await connection.execute(self._queries["count"], values)
                ((others,),) = await found.fetchall()
                if others >= MOST_TYPES:
                    raise PreconditionError(f"a tenant has at most {MOST_TYPES} types")
                await connection.execute(self._queries["put"], values)

    async def delete(self, tenant: str, instead: NotificationType) -> bool:
        with table_errors():
            async with self._pool.connection(timeout=WAIT_SECONDS) as connection:
                await connection.execute(self._queries["take_turn"])
                gone = await connection.execute(
                    self._queries["delete"], _row(tenant, instead)
                )
                return bool(gone.rowcount)

    async def of_tenant(self, tenant: str) -> Sequence[NotificationType]:
        rows = await self._all("of_tenant", {"tenant": tenant})
        return [NotificationType.FromString(definition) for (definition,) in rows]

    async def changed(self, after: int, most: int) -> Sequence[Change]:
        rows = await self._all("changed", {"after": after, "most": most})
        return [
            Change(tenant, revision, NotificationType.FromString(definition))
            for tenant, revision, definition in rows
        ]

    async def _all(self, query: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        with table_errors():
            async with self._pool.connection(timeout=WAIT_SECONDS) as connection:
                found = await connection.execute(self._queries[query], values)
                rows: list[tuple[Any, ...]] = await found.fetchall()
                return rows


def _row(tenant: str, definition: NotificationType) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "type": definition.type,
        "definition": definition.SerializeToString(deterministic=True),
    }


class InMemoryTypeTable:
    """Implements TypeTable for tests. Set ``error`` to make every call raise it."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Change] = {}
        self._deleted: set[tuple[str, str]] = set()
        self.error: Exception | None = None
        self._revision = 0

    async def put(self, tenant: str, definition: NotificationType) -> None:
        self._called()
        others = {row for row in self.rows if row[0] == tenant} - self._deleted
        if len(others - {(tenant, definition.type)}) >= MOST_TYPES:
            raise PreconditionError(f"a tenant has at most {MOST_TYPES} types")
        self._deleted.discard((tenant, definition.type))
        self._change(tenant, definition)

    async def delete(self, tenant: str, instead: NotificationType) -> bool:
        self._called()
        identity = (tenant, instead.type)
        if identity not in self.rows or identity in self._deleted:
            return False
        self._deleted.add(identity)
        self._change(tenant, instead)
        return True

    async def of_tenant(self, tenant: str) -> Sequence[NotificationType]:
        self._called()
        own = sorted(
            row for row in self.rows if row[0] == tenant and row not in self._deleted
        )
        return [self.rows[row].definition for row in own]

    async def changed(self, after: int, most: int) -> Sequence[Change]:
        self._called()
        later = (row for row in self.rows.values() if row.revision > after)
        return sorted(later, key=lambda row: row.revision)[:most]

    def _change(self, tenant: str, definition: NotificationType) -> None:
        self._revision += 1
        change = Change(tenant, self._revision, definition)
        self.rows[tenant, definition.type] = change

    def _called(self) -> None:
        if self.error is not None:
            raise self.error
