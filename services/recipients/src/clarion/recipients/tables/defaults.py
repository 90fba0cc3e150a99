"""The table of the tenants' default preferences."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from clarion.api.recipients.v1.recipient_pb2 import Preferences
from clarion.recipients.preferences import bare
from clarion.recipients.queries import QUERIES
from clarion.recipients.tables.profiles import fill_preferences
from clarion.recipients.transactions import Connection


class Change(NamedTuple):
    """The defaults of a tenant as they were put last."""

    tenant: str
    revision: int
    preferences: Preferences


async def get(connection: Connection, tenant: str) -> Preferences:
    """A tenant's defaults; version 0 when it has none."""
    found = await connection.execute(
        QUERIES["get_default_preference"], {"tenant": tenant}
    )
    stored = Preferences()
    row = await found.fetchone()
    if row is not None:
        fill_preferences(stored, "", *row)
    return stored


async def put(
    connection: Connection, tenant: str, wanted: Preferences, now: datetime
) -> Preferences:
    """Replaces a tenant's defaults; as stored then.

    The same defaults again keep their version, so that repeating is safe.
    """
    await connection.execute(QUERIES["take_turn_with_defaults"])
    stored = await get(connection, tenant)
    before, result = Preferences(), Preferences()
    before.CopyFrom(stored)
    result.CopyFrom(wanted)
    if stored.version and bare(result) == bare(before):
        return stored
    body, version = bare(result).SerializeToString(), stored.version + 1
    await connection.execute(
        QUERIES["put_default_preference"],
        {"tenant": tenant, "body": body, "version": version, "now": now},
    )
    fill_preferences(result, "", body, version, now)
    return result


async def changed(connection: Connection, after: int, most: int) -> Sequence[Change]:
    """Of all tenants, what has a higher revision, the lowest first.

    What was put before has a lower revision, always.
    """
    found = await connection.execute(
        QUERIES["changed_default_preferences"], {"after": after, "most": most}
    )
    changes = []
    for tenant, revision, body, version, updated in await found.fetchall():
        preferences = Preferences()
        fill_preferences(preferences, "", body, version, updated)
        changes.append(Change(tenant, revision, preferences))
    return changes
