"""The SDK's calls about types, schedules, consents and suppressions."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from clarion.api.recipients.v1.consent_service_pb2 import Consent
from clarion.api.recipients.v1.recipient_pb2 import Suppression
from clarion.api.router.v1.notification_type_service_pb2 import NotificationType
from clarion.api.router.v1.schedule_service_pb2 import Schedule
from clarion.client import ApiError, notification

pytestmark = pytest.mark.e2e


async def test_a_type_is_put_read_listed_and_deleted(mesh: Any) -> None:
    client, name = mesh.client, f"sdk_{uuid.uuid4().hex[:8]}"
    asked = NotificationType(type=name, category="social", critical=True)
    put = await client.put_notification_type(asked)
    assert (put.type, put.category) == (name, "social")
    assert await client.notification_type(name) == put
    critical = [one async for one in client.notification_types(critical_only=True)]
    assert put in critical
    assert all(one.critical for one in critical)
    assert await client.delete_notification_type(name)
    assert not await client.delete_notification_type(name)
    with pytest.raises(ApiError) as caught:
        await client.notification_type(name)
    assert caught.value.reason == "NOT_FOUND"


async def test_a_schedule_is_put_read_listed_and_deleted(mesh: Any) -> None:
    client, id = mesh.client, f"sdk-{uuid.uuid4().hex[:8]}"
    one = notification("ada", "briefing", title="Good morning")
    asked = Schedule(
        schedule_id=id, notification=one, cron="30 7 1 1 *", time_zone="UTC"
    )
    put = await client.put_schedule(asked)
    next_time = put.next_time.ToDatetime(UTC)
    assert next_time > datetime.now(UTC)
    assert (next_time.month, next_time.hour, next_time.minute) == (1, 7, 30)
    assert await client.schedule(id) == put
    assert put in [found async for found in client.schedules()]
    assert await client.delete_schedule(id)
    assert not await client.delete_schedule(id)
    with pytest.raises(ApiError) as caught:
        await client.schedule(id)
    assert caught.value.reason == "NOT_FOUND"


async def test_a_ledger_of_consents_has_an_entry_for_each_request(mesh: Any) -> None:
    client, person = mesh.client, (await mesh.person()).user_id
    asked = Consent(channel="email", category="newsletter", granted=True, source="form")
    first = await client.record_consent(person, asked)
    assert first.request_id
    assert not asked.request_id
    assert await client.record_consent(person, first) == first
    asked.granted = False
    second = await client.record_consent(person, asked)
    assert [one async for one in client.consents(person)] == [second, first]


async def test_a_consent_that_proves_nothing_is_refused_by_field(mesh: Any) -> None:
    with pytest.raises(ApiError) as caught:
        await mesh.client.record_consent("ada", Consent(granted=True))
    assert [one.field for one in caught.value.violations] == ["consent.source"]


async def test_suppressions_of_several_pages_are_listed_and_lifted(mesh: Any) -> None:
    client, word = mesh.client, uuid.uuid4().hex[:8]
    addresses = [f"{word}-{number:03d}@people.example" for number in range(230)]
    asked = [
        Suppression(channel="email", address=address, reason="manual")
        for address in addresses
    ]
    assert await client.suppress(asked) == 230
    assert await client.suppress(asked) == 0
    listed = [one async for one in client.suppressions(channel="email")]
    own = [one.address for one in listed if one.address.startswith(word)]
    assert own == addresses
    assert [one async for one in client.suppressions(channel="push")] == [
        one async for one in client.suppressions() if one.channel == "push"
    ]
    for address in addresses:
        assert await client.remove_suppression("email", address)
    assert not await client.remove_suppression("email", addresses[0])
