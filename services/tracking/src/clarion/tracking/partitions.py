"""The days of the event log: made ahead, made on demand, dropped when old."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any

from psycopg import AsyncConnection, sql

from clarion.tracking.queries import QUERIES

_PREFIX = "events_"
_FORMAT = f"{_PREFIX}%Y%m%d"
_LOCK_LIMIT = "2s"

Connection = AsyncConnection[Any]


def partition_name(day: date) -> str:
    """The table of a day."""
    return day.strftime(_FORMAT)


def partition_day(name: str) -> date | None:
    """The day of a table; None for a table that is no day's."""
    try:
        return datetime.strptime(name, _FORMAT).date()
    except ValueError:
        return None


async def existing(connection: Connection) -> set[date]:
    """The days that have a partition."""
    cursor = await connection.execute(QUERIES["partitions"])
    days = (partition_day(name) for (name,) in await cursor.fetchall())
    return {day for day in days if day is not None}


async def create(connection: Connection, days: Iterable[date]) -> None:
    """Makes the partitions of those days that have none. Needs the writer's turn.

    The table is made apart and attached: ``CREATE TABLE ... PARTITION OF`` would lock
    out everybody who reads or writes events meanwhile.
    """
    missing = set(days) - await existing(connection)
    for day in sorted(missing):
        table = sql.Identifier(partition_name(day))
        first, end = sql.Literal(day), sql.Literal(day + timedelta(days=1))
        for statement in (
            "CREATE TABLE {} (LIKE events INCLUDING DEFAULTS)",
            "ALTER TABLE {} ADD CONSTRAINT bounds CHECK (day >= {} AND day < {})",
            "ALTER TABLE events ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})",
            "ALTER TABLE {} DROP CONSTRAINT bounds",
        ):
            await connection.execute(sql.SQL(statement).format(table, first, end))


async def drop_before(connection: Connection, day: date) -> list[date]:
    """Drops the partitions of earlier days; which ones. Needs the writer's turn."""
    old = sorted(found for found in await existing(connection) if found < day)
    if old:
        limit = sql.SQL("SET LOCAL lock_timeout = {}").format(_LOCK_LIMIT)
        await connection.execute(limit)
    for found in old:
        table = sql.Identifier(partition_name(found))
        await connection.execute(sql.SQL("DROP TABLE {}").format(table))
    return old
