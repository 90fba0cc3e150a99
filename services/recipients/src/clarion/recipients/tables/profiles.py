"""Profiles, put together from all tables in one round trip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clarion.api.recipients.v1.recipient_pb2 import Preferences, Recipient
from clarion.api.recipients.v1.recipient_service_pb2 import RecipientProfile
from clarion.recipients.addresses import digest
from clarion.recipients.queries import QUERIES
from clarion.recipients.transactions import Pool, snapshot

_PARTS = (
    "profile_people",
    "profile_devices",
    "profile_preferences",
    "profile_suppressions",
    "profile_consents",
)


async def read(
    pool: Pool, tenant: str, user_ids: Sequence[str]
) -> dict[str, RecipientProfile]:
    """The profile of everybody asked for, also of who is not known."""
    asked = {
        "tenant": tenant,
        "user_ids": list(user_ids),
        "user_digests": [digest(user_id) for user_id in user_ids],
    }
    async with snapshot(pool) as connection:
        cursors = [await connection.execute(QUERIES[part], asked) for part in _PARTS]
    people, devices, preferences, suppressions, consents = [
        await cursor.fetchall() for cursor in cursors
    ]
    profiles = {user_id: RecipientProfile() for user_id in user_ids}
    for row in people:
        profile = profiles[row[0]]
        profile.found = True
        _fill_recipient(profile.recipient, row)
    for row in devices:
        _add_device(profiles[row[0]].recipient, row)
    for user_id, body, version, updated in preferences:
        profile = profiles[user_id]
        if profile.found and version:
            fill_preferences(profile.preferences, user_id, body, version, updated)
    for user_id, channel, address, reason, source, created in suppressions:
        entry = profiles[user_id].suppressions.add(
            channel=channel, address=address, reason=reason, source=source
        )
        entry.created_time.FromDatetime(created)
    _add_consents(profiles, consents)
    return profiles


def fill_preferences(
    preferences: Preferences, user_id: str, body: bytes, version: int, updated: Any
) -> None:
    """Fills a message from a row of the table ``preference``."""
    preferences.ParseFromString(body)
    if version:
        preferences.version = version
        preferences.updated_time.FromDatetime(updated)
    preferences.user_id = user_id


def _add_consents(
    profiles: Mapping[str, RecipientProfile], rows: Sequence[Sequence[Any]]
) -> None:
    taken_back = {user_id for user_id, _, _, granted, _ in rows if not granted}
    for user_id, channel, category, granted, given in rows:
        if user_id in taken_back and profiles[user_id].found:
            entry = profiles[user_id].consents.add(
                channel=channel, category=category, granted=granted
            )
            entry.given_time.FromDatetime(given)


def _fill_recipient(recipient: Recipient, row: Sequence[Any]) -> None:
    (
        recipient.user_id,
        recipient.email,
        recipient.phone_number,
        recipient.display_name,
        recipient.locale,
        recipient.time_zone,
        attributes,
        updated,
    ) = row
    if attributes:
        recipient.attributes.ParseFromString(attributes)
    recipient.updated_time.FromDatetime(updated)


def _add_device(recipient: Recipient, row: Sequence[Any]) -> None:
    _, device_id, platform, token, app_id, last_seen, registered = row
    device = recipient.devices.add(
        device_id=device_id, platform=platform, token=token, app_id=app_id
    )
    device.last_seen_time.FromDatetime(last_seen)
    device.registered_time.FromDatetime(registered)
