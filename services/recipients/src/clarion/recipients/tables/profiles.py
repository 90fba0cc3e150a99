"""Profiles, put together from all tables by one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clarion.api.recipients.v1.recipient_pb2 import Preferences
from clarion.api.recipients.v1.recipient_service_pb2 import RecipientProfile
from clarion.recipients import profile_bytes
from clarion.recipients.queries import QUERIES
from clarion.recipients.text_array import text_array
from clarion.recipients.transactions import Pool, reading

_Row = Sequence[Any]

# Kinds of rows.
_PERSON, _SUPPRESSION = 0, 1


async def read(pool: Pool, tenant: str, user_ids: Sequence[str]) -> dict[str, bytes]:
    """Of everybody asked for a serialized response with the one profile.

    Also of who is not known.
    """
    asked = {"tenant": tenant, "user_ids": text_array(user_ids)}
    async with reading(pool) as connection:
        cursor = await connection.execute(QUERIES["profiles"], asked, binary=True)
        rows = await cursor.fetchall()
    times = profile_bytes.Times()
    people: dict[str, _Row] = {}
    devices: dict[str, list[_Row]] = {}
    marks: list[_Row] = []
    for row in rows:
        if row[0] != _PERSON:
            marks.append(row)
            continue
        user_id = row[1]
        people[user_id] = row
        if row[9] is not None:
            devices.setdefault(user_id, []).append(row)
    more = _more(marks, times) if marks else {}
    responses = dict.fromkeys(user_ids, profile_bytes.UNKNOWN)
    for user_id, person in people.items():
        own = devices.get(user_id, ())
        if len(own) > 1:
            own = sorted(own, key=_age)
        rest = more.get(user_id, b"")
        body, version, changed = person[15:]
        if version:
            rest += profile_bytes.preferences(user_id, body, version, changed, times)
        responses[user_id] = profile_bytes.response(
            person[1:9],
            [profile_bytes.device(one[8:15], times) for one in own],
            rest,
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


def _more(marks: Sequence[_Row], times: profile_bytes.Times) -> Mapping[str, bytes]:
    """Suppressions and consents as encoded profiles, of the few people who have any."""
    profiles: dict[str, RecipientProfile] = {}
    taken_back = {row[1] for row in marks if row[0] != _SUPPRESSION and not row[4]}
    for kind, user_id, channel, second, third, source, _, _, time, *_ in marks:
        if kind == _SUPPRESSION:
            profile = profiles.setdefault(user_id, RecipientProfile())
            entry = profile.suppressions.add(
                channel=channel, address=second, reason=third, source=source
            )
            entry.created_time.ParseFromString(times.message(time))
        elif user_id in taken_back:
            profile = profiles.setdefault(user_id, RecipientProfile())
            consent = profile.consents.add(
                channel=channel, category=second, granted=bool(third)
            )
            consent.given_time.ParseFromString(times.message(time))
    return {
        user_id: profile.SerializeToString() for user_id, profile in profiles.items()
    }


def _age(row: _Row) -> tuple[int, str]:
    return int.from_bytes(row[14], "big", signed=True), row[9]
