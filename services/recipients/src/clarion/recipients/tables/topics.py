"""Who is subscribed to what."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from clarion.recipients.queries import QUERIES
from clarion.recipients.transactions import Connection


async def subscribe(
    connection: Connection,
    tenant: str,
    topic: str,
    user_ids: Sequence[str],
    now: datetime,
) -> int:
    """Adds people to a topic; how many were new."""
    added = await connection.execute(
        QUERIES["subscribe"],
        {"tenant": tenant, "topic": topic, "user_ids": _each(user_ids), "now": now},
    )
    return added.rowcount


async def unsubscribe(
    connection: Connection, tenant: str, topic: str, user_ids: Sequence[str]
) -> int:
    """Removes people from a topic; how many there were."""
    removed = await connection.execute(
        QUERIES["unsubscribe"],
        {"tenant": tenant, "topic": topic, "user_ids": _each(user_ids)},
    )
    return removed.rowcount


async def page(
    connection: Connection, tenant: str, topic: str, after: str, most: int
) -> list[str]:
    """Subscribers in byte order of their ids, from after that one."""
    found = await connection.execute(
        QUERIES["list_subscribers"],
        {"tenant": tenant, "topic": topic, "after": after, "most": most},
    )
    return [user_id for (user_id,) in await found.fetchall()]


def _each(user_ids: Sequence[str]) -> list[str]:
    # In one order for everybody, so that two writers of a topic cannot lock each other.
    return sorted(set(user_ids))
