"""Profiles, put together from all tables in one round trip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clarion.api.recipients.v1.recipient_pb2 import Preferences
from clarion.api.recipients.v1.recipient_service_pb2 import RecipientProfile
from clarion.recipients import profile_bytes
from clarion.recipients.queries import QUERIES
from clarion.recipients.text_array import text_array
from clarion.recipients.transactions import Pool, snapshot

_IN_BYTES = ("profile_people", "profile_devices")
_PARTS = ("profile_preferences", "profile_suppressions", "profile_consents")


async def read(pool: Pool, tenant: str, user_ids: Sequence[str]) -> dict[str, bytes]:
    """Of everybody asked for a serialized response with the one profile.

    Also of who is not known.
    """
    asked = {"tenant": tenant, "user_ids": text_array(user_ids)}
    async with snapshot(pool) as connection:
        cursors = [
            await connection.execute(QUERIES[part], asked, binary=True)
            for part in _IN_BYTES
        ]
        cursors += [await connection.execute(QUERIES[part], asked) for part in _PARTS]
    people, devices, *rest = [await cursor.fetchall() for cursor in cursors]
    more = _more(*rest)
    times = profile_bytes.Times()
    devices_of: dict[str, list[Sequence[Any]]] = {}
    for row in devices:
        devices_of.setdefault(row[0], []).append(row)
    responses = dict.fromkeys(user_ids, profile_bytes.UNKNOWN)
    for row in people:
        user_id = row[0]
        own = devices_of.get(user_id, ())
        if len(own) > 1:
            own = sorted(own, key=_age)
        responses[user_id] = profile_bytes.response(
            row,
            [profile_bytes.device(one, times) for one in own],
            more[user_id].SerializeToString() if user_id in more else b"",
            times,
        )
    return responses


def fill_preferences(
    preferences: Preferences, user_id: str, body: bytes, version: int, updated: Any
) -> None:
    """Fills a message from a row of the table ``preference``."""
    preferences.ParseFromString(body)
    if version:
        preferences.version = version
        preferences.updated_time.FromDatetime(updated)
    preferences.user_id = user_id


def _more(
    preferences: Sequence[Sequence[Any]],
    suppressions: Sequence[Sequence[Any]],
    consents: Sequence[Sequence[Any]],
) -> Mapping[str, RecipientProfile]:
    """What few people have."""
    profiles: dict[str, RecipientProfile] = {}
    for user_id, body, version, updated in preferences:
        if version:
            profile = profiles.setdefault(user_id, RecipientProfile())
            fill_preferences(profile.preferences, user_id, body, version, updated)
    for user_id, channel, address, reason, source, created in suppressions:
        profile = profiles.setdefault(user_id, RecipientProfile())
        entry = profile.suppressions.add(
            channel=channel, address=address, reason=reason, source=source
        )
        entry.created_time.FromDatetime(created)
    taken_back = {user_id for user_id, _, _, granted, _ in consents if not granted}
    for user_id, channel, category, granted, given in consents:
        if user_id in taken_back:
            profile = profiles.setdefault(user_id, RecipientProfile())
            consent = profile.consents.add(
                channel=channel, category=category, granted=granted
            )
            consent.given_time.FromDatetime(given)
    return profiles


def _age(device: Sequence[Any]) -> tuple[int, str]:
    return int.from_bytes(device[6], "big", signed=True), device[1]
