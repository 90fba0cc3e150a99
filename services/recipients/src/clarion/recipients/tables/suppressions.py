"""The table of suppressions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from clarion.api.recipients.v1.recipient_pb2 import Suppression
from clarion.recipients import instant
from clarion.recipients.addresses import EMAIL, INBOX, digest, normalised
from clarion.recipients.queries import QUERIES
from clarion.recipients.transactions import Connection

UNSUBSCRIBED = "unsubscribe"
"""The one reason that critical mail passes."""


@dataclass(frozen=True, slots=True)
class Reached:
    """Who is reached by some addresses."""

    user_ids: frozenset[str]
    emails: frozenset[str]
    """The spellings of the emails among them."""


@dataclass(frozen=True, slots=True)
class Added:
    """What came of adding suppressions."""

    new: int
    """How many there were not before."""
    reasons: Sequence[tuple[str, str, str]]
    """(channel, address, reason) of each as it is stored now."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A row, for the mirror in Valkey."""

    tenant: str
    digest: bytes
    channel: str
    address: str
    reason: str
    emails: Sequence[str]
    """How the people with this address spell it."""


async def lock(connection: Connection, tenant: str) -> None:
    """Makes the tenant's other writers wait until this transaction has ended."""
    await connection.execute(QUERIES["lock_suppressions"], {"tenant": tenant})


async def add(
    connection: Connection,
    tenant: str,
    suppressions: Sequence[Suppression],
    now: datetime,
) -> Added:
    """Adds suppressions.

    An old one keeps its reason, but for ``unsubscribe``: what stops less gives way to
    what stops more.
    """
    by_key: dict[tuple[bytes, str], tuple[str, Suppression]] = {}
    for entry in suppressions:
        address = normalised(entry.channel, entry.address)
        key = (digest(address), entry.channel)
        if entry.reason != UNSUBSCRIBED or key not in by_key:
            by_key[key] = (address, entry)
    rows = [(*key, *by_key[key]) for key in sorted(by_key)]
    columns = {
        "tenant": tenant,
        "now": now,
        "address_digests": [found for found, _, _, _ in rows],
        "channels": [channel for _, channel, _, _ in rows],
        "addresses": [address for _, _, address, _ in rows],
        "reasons": [entry.reason for _, _, _, entry in rows],
        "sources": [entry.source for _, _, _, entry in rows],
        "created_times": [
            instant.given(entry.created_time, entry.HasField("created_time"))
            for _, _, _, entry in rows
        ],
    }
    async with connection.pipeline():
        added = await connection.execute(QUERIES["add_suppressions"], columns)
        stored = await connection.execute(QUERIES["reasons_of"], columns)
    reasons = {
        (bytes(found), channel): reason
        for found, channel, reason in await stored.fetchall()
    }
    return Added(
        sum(is_new for (is_new,) in await added.fetchall()),
        [
            (entry.channel, entry.address, reasons[found, entry.channel])
            for entry in suppressions
            for found in (digest(normalised(entry.channel, entry.address)),)
        ],
    )


async def remove(
    connection: Connection, tenant: str, channel: str, address: str
) -> bool:
    """Removes one; whether there was one."""
    removed = await connection.execute(
        QUERIES["remove_suppression"],
        {
            "tenant": tenant,
            "channel": channel,
            "address_digest": digest(normalised(channel, address)),
        },
    )
    return removed.rowcount > 0


async def reached_by(
    connection: Connection, tenant: str, addresses: Sequence[tuple[str, str]]
) -> Reached:
    """Who is reached by these (channel, address)."""
    digests = {
        digest(normalised(channel, address))
        for channel, address in addresses
        if channel != INBOX
    }
    found = await connection.execute(
        QUERIES["people_with_addresses"],
        {"tenant": tenant, "address_digests": list(digests)},
    )
    rows = await found.fetchall()
    inboxes = {address for channel, address in addresses if channel == INBOX}
    return Reached(
        frozenset(user_id for user_id, _ in rows) | inboxes,
        frozenset(email for _, email in rows if email),
    )


async def page(
    connection: Connection,
    tenant: str,
    channel: str,
    after: tuple[str, str, bytes],
    most: int,
) -> list[tuple[bytes, Suppression]]:
    """(digest, suppression) by channel and address, from after that place."""
    found = await connection.execute(
        QUERIES["list_suppressions"],
        {
            "tenant": tenant,
            "channel": channel,
            "after_channel": after[0],
            "after_address": after[1],
            "after_digest": after[2],
            "most": most,
        },
    )
    return [_entry(row) for row in await found.fetchall()]


async def page_of_all(
    connection: Connection, after: Stored | None, most: int
) -> list[Stored]:
    """Every tenant's, locked until the transaction ends, from after that row."""
    found = await connection.execute(
        QUERIES["page_of_all_suppressions"],
        {
            "after_tenant": after.tenant if after else "",
            "after_digest": after.digest if after else b"",
            "after_channel": after.channel if after else "",
            "most": most,
        },
    )
    return [
        Stored(
            tenant,
            found_by,
            channel,
            address,
            reason,
            emails if channel == EMAIL else (),
        )
        for tenant, found_by, channel, address, reason, emails in await found.fetchall()
    ]


def _entry(row: Sequence[Any]) -> tuple[bytes, Suppression]:
    channel, address, found_by, reason, source, created = row
    entry = Suppression(channel=channel, address=address, reason=reason, source=source)
    entry.created_time.FromDatetime(created)
    return found_by, entry
