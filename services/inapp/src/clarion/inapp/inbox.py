"""A person's inbox in Postgres: add, list, count, mark, and what changed since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.api.inapp.v1.inbox_service_pb2 import InboxCounts, InboxItem
from clarion.runtime.postgres import postgres_errors
from clarion.runtime.queries import queries_of

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from psycopg_pool import AsyncConnectionPool

_QUERIES = queries_of("clarion.inapp")


class Owner(NamedTuple):
    """Whose inbox it is."""

    tenant: str
    user_id: str


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the list: everything older than this item."""

    created_time: datetime
    item_id: str


@dataclass(frozen=True, slots=True)
class Marked:
    """What a mark did."""

    changed: int
    items: Sequence[tuple[str, str, str]]
    """(item_id, notification_id, type) of all that bear the mark now: those that were
    named, changed or not, so that a repeated call tells of them again."""
    counts: InboxCounts


class Inbox:
    """Every call raises UnavailableError while Postgres does not answer."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def add(self, jobs: Sequence[DeliveryJob], now: datetime) -> set[Owner]:
        """Adds what is not there yet; whose inboxes changed. Repeating is safe."""
        values = {
            "tenants": [job.tenant_id for job in jobs],
            "users": [job.user_id for job in jobs],
            "items": [job.delivery_id for job in jobs],
            "notifications": [job.notification_id for job in jobs],
            "types": [job.type for job in jobs],
            "categories": [job.category for job in jobs],
            "titles": [_storable(job.content.title) for job in jobs],
            "bodies": [_storable(job.content.body) for job in jobs],
            "data": [
                job.content.data.SerializeToString()
                if job.content.HasField("data")
                else None
                for job in jobs
            ],
            "now": now,
        }
        with postgres_errors():
            async with self._pool.connection() as connection:
                changed = await connection.execute(_QUERIES["add_items"], values)
                return {Owner(*row) for row in await changed.fetchall()}

    async def list(
        self, owner: Owner, filter: str, limit: int, before: Position | None
    ) -> Sequence[InboxItem]:
        """At most ``limit`` items, newest first; archived ones only by that filter."""
        values = _key(owner) | {
            "filter": filter,
            "limit": limit,
            "before_time": before.created_time if before else None,
            "before_item": before.item_id if before else None,
        }
        with postgres_errors():
            async with self._pool.connection() as connection:
                rows = await _rows(connection, "list_items", values)
        return [_item(row) for row in rows]

    async def counts(self, owner: Owner) -> InboxCounts:
        """The counts and the version that they belong to."""
        with postgres_errors():
            async with self._pool.connection() as connection:
                return await _counts(connection, owner)

    async def version(self, owner: Owner) -> int:
        """The version of the inbox; 0 for one that never had an item."""
        with postgres_errors():
            async with self._pool.connection() as connection:
                return await _version(connection, owner)

    async def changes(
        self, owner: Owner, after: int, limit: int
    ) -> tuple[Sequence[InboxItem], InboxCounts]:
        """The items that changed after a version, in the order of their change."""
        with postgres_errors():
            async with self._pool.connection() as connection, connection.transaction():
                await connection.execute(
                    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
                )
                values = _key(owner) | {"version": after, "limit": limit}
                rows = await _rows(connection, "changed_items", values)
                return [_item(row) for row in rows], await _counts(connection, owner)

    async def mark(
        self, owner: Owner, item_ids: Sequence[str], mark: str, now: datetime
    ) -> Marked:
        """Marks items, or all for an empty list."""
        with postgres_errors():
            async with self._pool.connection() as connection, connection.transaction():
                # Locks the inbox until the end of the transaction.
                (head,) = await _rows(connection, "bump_head", _key(owner))
                version: int = head["version"]
                values = _key(owner) | {
                    "items": list(item_ids),
                    "mark": mark,
                    "now": now,
                    "version": version,
                }
                rows = await _rows(connection, "mark_items", values)
                if rows:
                    await connection.execute(
                        _QUERIES["set_head"],
                        _key(owner) | {"version": version + len(rows)},
                    )
                changed = [row["item_id"] for row in rows]
                named = await _rows(
                    connection,
                    "named_items",
                    _key(owner) | {"items": list(item_ids) or changed},
                )
                items = [
                    (str(row["item_id"]), str(row["notification_id"]), row["type"])
                    for row in named
                ]
                return Marked(len(rows), items, await _counts(connection, owner))


async def _rows(
    connection: AsyncConnection[Any], query: str, values: Mapping[str, object]
) -> Sequence[dict[str, Any]]:
    from psycopg.rows import dict_row

    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_QUERIES[query], values)
        return await cursor.fetchall()


async def _version(connection: AsyncConnection[Any], owner: Owner) -> int:
    rows = await _rows(connection, "head", _key(owner))
    return rows[0]["version"] if rows else 0


async def _counts(connection: AsyncConnection[Any], owner: Owner) -> InboxCounts:
    # The version first: counts may be newer than it, then the change comes again.
    version = await _version(connection, owner)
    (row,) = await _rows(connection, "counts", _key(owner))
    return InboxCounts(**row, version=version)


def _key(owner: Owner) -> dict[str, object]:
    return {"tenant": owner.tenant, "user": owner.user_id}


def _storable(text: str) -> str:
    # Postgres has no NUL in text; a message must not be lost for one.
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _item(row: Mapping[str, Any]) -> InboxItem:
    item = InboxItem(
        item_id=str(row["item_id"]),
        notification_id=str(row["notification_id"]),
        type=row["type"],
        category=row["category"],
        title=row["title"],
        body=row["body"],
        version=row["version"],
    )
    if row["data"] is not None:
        item.data.ParseFromString(row["data"])
    for field in ("created_time", "seen_time", "read_time", "archived_time"):
        if row[field] is not None:
            getattr(item, field).FromDatetime(row[field])
    return item
