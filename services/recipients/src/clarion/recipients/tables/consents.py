"""The consent ledger."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from clarion.api.recipients.v1.consent_service_pb2 import Consent
from clarion.recipients import instant
from clarion.recipients.queries import QUERIES
from clarion.recipients.transactions import Connection
from clarion.runtime.errors import IdempotencyKeyReusedError

_TOLD = ("channel", "category", "granted", "source", "text_version")
BEGINNING = 2**63 - 1


async def add(
    connection: Connection, tenant: str, user_id: str, consent: Consent, now: datetime
) -> Consent:
    """Adds an entry, or finds the one of the same request.

    Raises IdempotencyKeyReusedError where that one says something else: a withdrawal
    must never be taken for a repetition of what was given.
    """
    given = instant.given(consent.given_time, _has_time(consent)) or now
    entry = {
        "tenant": tenant,
        "user_id": user_id,
        "now": now,
        "given_time": given,
        "request_id": consent.request_id,
        **{field: getattr(consent, field) for field in _TOLD},
    }
    added = await connection.execute(QUERIES["add_consent"], entry)
    if added.rowcount:
        consent.given_time.FromDatetime(given)
        return consent
    found = await connection.execute(QUERIES["consent_of_request"], entry)
    row = await found.fetchone()
    assert row is not None, "entries are never removed"
    _, stored = _entry(row)
    same = all(getattr(stored, field) == entry[field] for field in _TOLD)
    if not same or (_has_time(consent) and stored.given_time != consent.given_time):
        raise IdempotencyKeyReusedError(
            "consent.request_id was used for an entry that says something else",
            field="consent.request_id",
            metadata={"idempotency_key": consent.request_id},
        )
    return stored


async def page(
    connection: Connection, tenant: str, user_id: str, before: int, most: int
) -> list[tuple[int, Consent]]:
    """(sequence, entry), newest first, from before that sequence."""
    found = await connection.execute(
        QUERIES["list_consents"],
        {"tenant": tenant, "user_id": user_id, "before": before, "most": most},
    )
    return [_entry(row) for row in await found.fetchall()]


def _has_time(consent: Consent) -> bool:
    return consent.HasField("given_time")


def _entry(row: Sequence[Any]) -> tuple[int, Consent]:
    sequence, channel, category, granted, source, text_version, given, request_id = row
    entry = Consent(
        channel=channel,
        category=category,
        granted=granted,
        source=source,
        text_version=text_version,
        request_id=request_id,
    )
    entry.given_time.FromDatetime(given)
    return sequence, entry
