"""The table of preferences."""

from __future__ import annotations

from datetime import datetime

from clarion.api.recipients.v1.recipient_pb2 import Preferences
from clarion.recipients.preferences import bare, merged
from clarion.recipients.queries import QUERIES
from clarion.recipients.tables.profiles import fill_preferences
from clarion.recipients.transactions import Connection


async def get(connection: Connection, tenant: str, user_id: str) -> Preferences:
    """What a person wants, as stored; version 0 when nothing is."""
    found = await connection.execute(
        QUERIES["get_preference"], {"tenant": tenant, "user_id": user_id}
    )
    stored = Preferences(user_id=user_id)
    row = await found.fetchone()
    if row is not None:
        fill_preferences(stored, user_id, *row)
    return stored


async def change(
    connection: Connection,
    tenant: str,
    user_id: str,
    wanted: Preferences,
    defaults: Preferences | None,
    now: datetime,
) -> Preferences:
    """Merges a change; the person's own preferences as stored then.

    Never what the ``defaults`` fill in. A change that changes nothing keeps the
    version, so that repeating is safe.
    """
    person = {"tenant": tenant, "user_id": user_id, "now": now}
    async with connection.pipeline():
        await connection.execute(QUERIES["ensure_preference"], person)
        locked = await connection.execute(QUERIES["lock_preference"], person)
    row = await locked.fetchone()
    assert row is not None, "the row was made in this transaction"
    stored = Preferences()
    fill_preferences(stored, user_id, *row)
    before = Preferences()
    before.CopyFrom(stored)
    result = merged(stored, wanted, defaults)
    if stored.version and result == bare(before):
        return stored
    version = stored.version + 1
    body = result.SerializeToString()
    await connection.execute(
        QUERIES["set_preference"], {**person, "body": body, "version": version}
    )
    fill_preferences(result, user_id, body, version, now)
    return result
