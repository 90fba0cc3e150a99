"""People and their devices, in sets, in the transaction of the caller."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from clarion.api.recipients.v1.recipient_pb2 import Device, Recipient
from clarion.recipients import instant
from clarion.recipients.addresses import digest, email_digest, phone_digest
from clarion.recipients.person import MOST_DEVICES, devices_of
from clarion.recipients.queries import QUERIES
from clarion.recipients.transactions import Connection


async def put(
    connection: Connection, tenant: str, people: Sequence[Recipient], now: datetime
) -> set[str]:
    """Creates or replaces people, each once; who lost a device to one of them."""
    devices = devices_of(people)
    columns = _device_columns(tenant, devices, now)
    async with connection.pipeline():
        await connection.execute(QUERIES["put_people"], _columns(tenant, people, now))
        await connection.execute(
            QUERIES["keep_devices"],
            {
                "tenant": tenant,
                "people": [person.user_id for person in people],
                "token_digests": columns["token_digests"],
            },
        )
        if not devices:
            return set()
        taken = await connection.execute(QUERIES["take_tokens"], columns)
        await connection.execute(QUERIES["put_devices"], columns)
    return {user_id for (user_id,) in await taken.fetchall()}


async def delete(connection: Connection, tenant: str, user_id: str) -> bool:
    """Forgets a person; whether there was one."""
    person = {"tenant": tenant, "user_id": user_id}
    async with connection.pipeline():
        deleted = await connection.execute(QUERIES["delete_person"], person)
        await connection.execute(QUERIES["delete_preference"], person)
        await connection.execute(QUERIES["delete_subscriptions"], person)
    return deleted.rowcount > 0


async def register(
    connection: Connection, tenant: str, user_id: str, device: Device, now: datetime
) -> set[str] | None:
    """Adds or refreshes a device, completing it in place; who had the token before.

    None when there is no such person. Beyond the limit the devices that were not seen
    for longest are forgotten.
    """
    columns = _device_columns(tenant, [(user_id, device)], now)
    one = {
        "tenant": tenant,
        "user_id": user_id,
        "device_id": device.device_id,
        "token_digest": digest(device.token),
        "most": MOST_DEVICES,
    }
    locked = await connection.execute(QUERIES["lock_person"], one)
    if not locked.rowcount:
        return None
    async with connection.pipeline():
        await connection.execute(QUERIES["rotate_token"], one)
        taken = await connection.execute(QUERIES["take_tokens"], columns)
        stored = await connection.execute(QUERIES["put_devices"], columns)
        await connection.execute(QUERIES["forget_surplus_devices"], one)
    for registered, last_seen in await stored.fetchall():
        device.registered_time.FromDatetime(registered)
        device.last_seen_time.FromDatetime(last_seen)
    return {owner for (owner,) in await taken.fetchall()}


async def remove_device(
    connection: Connection, tenant: str, user_id: str, device_id: str
) -> bool:
    """Removes a device; whether there was one."""
    removed = await connection.execute(
        QUERIES["remove_device"],
        {"tenant": tenant, "user_id": user_id, "device_id": device_id},
    )
    return removed.rowcount > 0


async def remove_tokens(
    connection: Connection, tenant: str, tokens: Sequence[str]
) -> list[str]:
    """Removes devices by token; the person of each that there was."""
    removed = await connection.execute(
        QUERIES["remove_tokens"],
        {"tenant": tenant, "token_digests": [digest(token) for token in tokens]},
    )
    return [user_id for (user_id,) in await removed.fetchall()]


def _columns(
    tenant: str, people: Sequence[Recipient], now: datetime
) -> dict[str, object]:
    return {
        "tenant": tenant,
        "now": now,
        "user_ids": [person.user_id for person in people],
        "emails": [person.email for person in people],
        "email_digests": [email_digest(person.email) for person in people],
        "phone_numbers": [person.phone_number for person in people],
        "phone_digests": [phone_digest(person.phone_number) for person in people],
        "display_names": [person.display_name for person in people],
        "locales": [person.locale for person in people],
        "time_zones": [person.time_zone for person in people],
        "attributes": [person.attributes.SerializeToString() for person in people],
    }


def _device_columns(
    tenant: str, devices: Sequence[tuple[str, Device]], now: datetime
) -> dict[str, object]:
    return {
        "tenant": tenant,
        "now": now,
        "user_ids": [user_id for user_id, _ in devices],
        "device_ids": [device.device_id for _, device in devices],
        "platforms": [device.platform for _, device in devices],
        "tokens": [device.token for _, device in devices],
        "token_digests": [digest(device.token) for _, device in devices],
        "app_ids": [device.app_id for _, device in devices],
        "last_seen_times": [
            instant.given(device.last_seen_time, device.HasField("last_seen_time"))
            for _, device in devices
        ],
    }
