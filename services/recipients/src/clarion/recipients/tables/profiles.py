"""Profiles, put together from all tables in one round trip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from clarion.api.recipients.v1.recipient_pb2 import Device, Preferences, Recipient
from clarion.api.recipients.v1.recipient_service_pb2 import RecipientProfile
from clarion.recipients.queries import QUERIES
from clarion.recipients.text_array import text_array
from clarion.recipients.transactions import Pool, snapshot

_IN_BYTES = ("profile_people", "profile_devices")
_PARTS = ("profile_preferences", "profile_suppressions", "profile_consents")
_MILLION = 1_000_000
# Postgres counts microseconds from the year 2000.
_EPOCH = 946_684_800 * _MILLION


class _Times(dict[bytes, Timestamp]):
    """Timestamps by what Postgres sends; those written together are the same."""

    def __missing__(self, sent: bytes) -> Timestamp:
        micros = int.from_bytes(sent, "big", signed=True) + _EPOCH
        seconds, rest = divmod(micros, _MILLION)
        time = self[sent] = Timestamp(seconds=seconds, nanos=rest * 1000)
        return time


async def read(
    pool: Pool, tenant: str, user_ids: Sequence[str]
) -> dict[str, RecipientProfile]:
    """The profile of everybody asked for, also of who is not known."""
    asked = {"tenant": tenant, "user_ids": text_array(user_ids)}
    async with snapshot(pool) as connection:
        cursors = [
            await connection.execute(QUERIES[part], asked, binary=True)
            for part in _IN_BYTES
        ]
        cursors += [await connection.execute(QUERIES[part], asked) for part in _PARTS]
    people, devices, preferences, suppressions, consents = [
        await cursor.fetchall() for cursor in cursors
    ]
    profiles = _known(people, devices)
    for user_id, body, version, updated in preferences:
        profile = profiles.get(user_id)
        if profile is not None and version:
            fill_preferences(profile.preferences, user_id, body, version, updated)
    for user_id, channel, address, reason, source, created in suppressions:
        entry = profiles[user_id].suppressions.add(
            channel=channel, address=address, reason=reason, source=source
        )
        entry.created_time.FromDatetime(created)
    _add_consents(profiles, consents)
    for user_id in user_ids:
        if user_id not in profiles:
            profiles[user_id] = RecipientProfile()
    return profiles


def _known(
    people: Sequence[Sequence[Any]], devices: Sequence[Sequence[Any]]
) -> dict[str, RecipientProfile]:
    times = _Times()
    of_people: dict[str, list[Device]] = {}
    for user_id, device_id, platform, token, app_id, last_seen, registered in devices:
        device = Device(
            device_id=device_id,
            platform=platform,
            token=token,
            app_id=app_id,
            last_seen_time=times[last_seen],
            registered_time=times[registered],
        )
        of_people.setdefault(user_id, []).append(device)
    profiles = {}
    for user_id, email, phone, name, locale, zone, attributes, updated in people:
        recipient = Recipient(
            user_id=user_id,
            email=email,
            phone_number=phone,
            display_name=name,
            locale=locale,
            time_zone=zone,
            updated_time=times[updated],
            devices=_in_order(of_people.get(user_id, ())),
        )
        if attributes:
            recipient.attributes.ParseFromString(attributes)
        profiles[user_id] = RecipientProfile(found=True, recipient=recipient)
    return profiles


def _in_order(devices: Sequence[Device]) -> Sequence[Device]:
    if len(devices) < 2:
        return devices
    return sorted(devices, key=_age)


def _age(device: Device) -> tuple[int, int, str]:
    registered = device.registered_time
    return registered.seconds, registered.nanos, device.device_id


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
        if user_id in taken_back and user_id in profiles:
            entry = profiles[user_id].consents.add(
                channel=channel, category=category, granted=granted
            )
            entry.given_time.FromDatetime(given)
