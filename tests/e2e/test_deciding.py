from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from clarion.api.recipients.v1.recipient_pb2 import Preferences
from clarion.client import ApiError

DISCARDED = "018f0000-0000-7000-8000-000000000000"


def _now() -> datetime:
    return datetime.now(UTC)


async def test_repeated_key_is_one_notification_and_one_message(mesh):
    person = await mesh.person()
    key = f"order-{person.user_id}"
    first = await mesh.send(person, "push", idempotency_key=key)
    again = await mesh.send(person, "push", idempotency_key=key)
    at_once = await asyncio.gather(
        *(mesh.send(person, "push", idempotency_key=key) for _ in range(50))
    )
    assert {first, again, *at_once} == {first}
    await mesh.arrived(first)
    # What comes after has gone the same way, so a double would be there.
    await mesh.arrived(await mesh.send(person, "push"))
    assert len(await mesh.sandbox.messages(notification_id=first)) == 1


async def test_key_used_with_another_body_is_a_conflict(mesh):
    person = await mesh.person()
    key = f"order-{person.user_id}"
    sent = await mesh.send(person, "push", idempotency_key=key)
    with pytest.raises(ApiError) as caught:
        await mesh.send(person, "push", idempotency_key=key, title="Another")
    assert caught.value.code is grpc.StatusCode.ALREADY_EXISTS
    assert caught.value.reason == "IDEMPOTENCY_KEY_REUSED"
    answer = await mesh.rest(
        "POST",
        "/api/v1/notifications",
        {
            "user_id": person.user_id,
            "type": "note",
            "title": "Third",
            "idempotency_key": key,
        },
    )
    assert (answer.status, answer.info["reason"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert answer.fields == ["idempotency_key"]
    assert answer.info["metadata"]["notification_id"] == sent


async def test_scheduled_notification_arrives_when_it_is_due(mesh):
    person = await mesh.person()
    due = _now() + timedelta(seconds=2)
    sent = await mesh.send(person, "push", scheduled_at=due)
    await mesh.has_status(sent, "scheduled")
    (message,) = await mesh.arrived(sent)
    assert datetime.fromisoformat(message["arrived_time"]) >= due - timedelta(
        milliseconds=1
    )


async def test_cancelled_scheduled_notification_never_arrives(mesh):
    person = await mesh.person()
    due = _now() + timedelta(seconds=1.5)
    cancelled = await mesh.send(person, "push", scheduled_at=due)
    kept = await mesh.send(
        person, "push", scheduled_at=due + timedelta(milliseconds=500)
    )
    answer = await mesh.client.cancel(cancelled)
    assert answer.status == "cancelled"
    assert (await mesh.client.cancel(cancelled)).status == "cancelled"
    await mesh.has_status(cancelled, "cancelled")
    await mesh.arrived(kept)
    assert await mesh.sandbox.messages(notification_id=cancelled) == []


async def test_rescheduled_and_cancelled_by_key_over_rest(mesh):
    person = await mesh.person()
    key = f"key-{person.user_id}"
    sent = await mesh.send(
        person, "push", scheduled_at=_now() + timedelta(hours=1), idempotency_key=key
    )
    other = {"scheduled_at": (_now() + timedelta(hours=2)).isoformat()}
    answer = await mesh.rest("POST", f"/api/v1/notifications/{sent}:reschedule", other)
    assert (answer.status, answer.body["status"]) == (200, "scheduled")
    now = {"scheduled_at": _now().isoformat(), "idempotency_key": key}
    answer = await mesh.rest("POST", "/api/v1/notifications:reschedule", now)
    assert (answer.status, answer.body["notification_id"]) == (200, sent)
    await mesh.arrived(sent)
    answer = await mesh.rest("POST", "/api/v1/notifications:reschedule", now)
    assert answer.status == 400
    cancel = {"idempotency_key": key}
    answer = await mesh.rest("POST", "/api/v1/notifications:cancel", cancel)
    assert (answer.status, answer.body["notification_id"]) == (200, sent)


async def test_ordered_type_keeps_the_order_and_a_collapse_key_the_latest(mesh):
    person = await mesh.person()
    answer = await mesh.rest(
        "PUT", "/api/v1/types/parcel", {"channels": ["push"], "ordered": True}
    )
    assert answer.status == 200
    first = await mesh.send(person, "push", type="parcel", priority="low")
    second = await mesh.send(person, "push", type="parcel", priority="high")
    await mesh.arrived(second)
    await mesh.arrived(first)
    due = _now() + timedelta(seconds=1.5)
    older = await mesh.send(person, "push", scheduled_at=due, collapse_key="k")
    newer = await mesh.send(person, "push", collapse_key="k")
    await mesh.arrived(newer)
    await mesh.has_status(older, "cancelled")
    assert await mesh.sandbox.messages(notification_id=older) == []


async def test_cancel_over_rest_reaches_what_waits_for_a_retry(mesh, sandbox):
    person = await mesh.person()
    rule = {"provider": "fcm", "recipient": person.token}
    await sandbox.script({"match": rule, "action": {"status": 503}})
    sent = await mesh.send(person, "push")
    await mesh.has_status(sent, "processing")

    async def refused() -> bool:
        return bool(await sandbox.messages(notification_id=sent))

    await mesh.eventually(refused)
    path = f"/api/v1/notifications/{sent}:cancel"
    answer = await mesh.rest("POST", path)
    assert (answer.status, answer.body["status"]) == (200, "cancelling")
    await sandbox.script()
    await mesh.has_status(sent, "cancelled")
    assert await sandbox.accepted(notification_id=sent) == []


async def test_notification_that_expired_while_it_waited_is_not_sent(mesh, of_channel):
    person = await mesh.person()
    due = _now() + timedelta(seconds=1)
    sent = await mesh.send(
        person,
        "push",
        scheduled_at=due,
        expires_at=due + timedelta(microseconds=1),
    )
    record = await mesh.has_status(sent, "expired")
    assert [one["status"] for one in of_channel(record, "push")] == ["expired"]
    assert await mesh.sandbox.messages(notification_id=sent) == []


async def test_quiet_hours_hold_push_back_but_not_the_inbox(mesh, of_channel):
    person = await mesh.person()
    now = _now()
    hours = {
        "start": f"{now - timedelta(hours=2):%H:%M}",
        "end": f"{now + timedelta(hours=2):%H:%M}",
        "timezone": "UTC",
    }
    await mesh.prefer(person, quiet_hours=hours)
    sent = await mesh.send(person, "push", "in_app")
    await mesh.in_inbox(person.user_id)
    record = await mesh.has_status(sent, "sent")
    (held,) = of_channel(record, "push")
    assert held["reason"] == "quiet_hours"
    urgent = await mesh.send(person, "push", priority="high")
    await mesh.arrived(urgent)
    assert await mesh.sandbox.messages(notification_id=sent) == []


async def test_quiet_hours_are_in_the_zone_that_they_name(mesh):
    person = await mesh.person()
    now = _now()
    # Around now in UTC: around midday or midnight elsewhere.
    hours = {
        "start": f"{now - timedelta(hours=2):%H:%M}",
        "end": f"{now + timedelta(hours=2):%H:%M}",
        "timezone": "Asia/Tokyo",
    }
    await mesh.prefer(person, quiet_hours=hours)
    await mesh.arrived(await mesh.send(person, "push"))


async def test_switched_off_channel_is_skipped_and_the_others_arrive(mesh, of_channel):
    person = await mesh.person()
    await mesh.prefer(person, push_enabled=False)
    sent = await mesh.send(person, "push", "email")
    await mesh.arrived(sent, provider="smtp")
    record = await mesh.has_status(sent, "sent")
    (push,) = of_channel(record, "push")
    assert (push["status"], push["reason"]) == ("skipped", "channel_disabled")
    assert await mesh.sandbox.messages(notification_id=sent, channel="push") == []


async def test_switched_off_category_is_skipped_on_all_channels(mesh):
    person = await mesh.person()
    await mesh.prefer(person, categories={"promotional": False})
    unwanted = await mesh.send(person, "push", "email", type="promotion")
    wanted = await mesh.send(person, "push", "email")
    await mesh.arrived(wanted, 2)
    record = await mesh.has_status(unwanted, "skipped")
    reasons = {one["reason"] for one in record["deliveries"]}
    assert reasons == {"category_disabled"}
    assert await mesh.sandbox.messages(notification_id=unwanted) == []


async def test_fourth_promotion_of_a_day_is_rate_limited(mesh):
    person = await mesh.person()
    sent = [await mesh.send(person, "push", type="promotion") for _ in range(4)]
    records = [
        await mesh.has_status(one, "sent", "rate_limited", "skipped") for one in sent
    ]
    statuses = sorted(record["status"] for record in records)
    assert statuses == ["rate_limited", "sent", "sent", "sent"]
    (limited,) = [one for one in records if one["status"] == "rate_limited"]
    assert limited["deliveries"][0]["reason"] == "daily_limit"
    # Other categories are counted by themselves.
    await mesh.arrived(await mesh.send(person, "push"))
    assert await mesh.sandbox.messages(notification_id=limited["notification_id"]) == []


async def test_limit_of_a_person_is_stricter_than_the_default(mesh):
    person = await mesh.person()
    await mesh.prefer(person, frequency_limits={"order_updates": {"daily": 1}})
    first = await mesh.send(person, "push")
    await mesh.has_status(first, "sent")
    second = await mesh.send(person, "push")
    await mesh.has_status(second, "rate_limited")


async def test_unknown_person_is_skipped_with_the_reason(mesh, of_channel):
    answer = await mesh.rest(
        "POST",
        "/api/v1/notifications",
        {"user_id": "nobody-at-all", "type": "note", "title": "Hello"},
    )
    record = await mesh.has_status(answer.body["notification_id"], "skipped")
    assert {one["reason"] for one in record["deliveries"]} == {"unknown_recipient"}


async def test_unknown_notification_is_not_found(mesh):
    answer = await mesh.rest("GET", f"/api/v1/notifications/{DISCARDED}")
    assert (answer.status, answer.info["reason"]) == (404, "NOT_FOUND")
    with pytest.raises(ApiError) as caught:
        await mesh.client.get(DISCARDED)
    assert caught.value.code is grpc.StatusCode.NOT_FOUND


async def test_defaults_and_explanations_speak_rest(mesh):
    person = await mesh.person()
    answer = await mesh.rest("GET", "/api/v1/preferences/defaults")
    assert answer.status == 200
    answer = await mesh.rest("PUT", "/api/v1/preferences/defaults", answer.body)
    assert answer.status == 200, answer.text
    assert await mesh.client.default_preferences() == (
        await mesh.client.put_default_preferences(Preferences())
    )
    path = f"/api/v1/users/{person.user_id}/preferences"
    answer = await mesh.rest("PUT", path, {"sms_enabled": False})
    assert (await mesh.client.preferences(person.user_id)).sms_enabled is False
    assert answer.body["inherited"] == [
        "push_enabled",
        "email_enabled",
        "in_app_enabled",
    ]
    sent = await mesh.send(person, "push", "sms")
    await mesh.arrived(sent)
    await mesh.has_status(sent, "sent")
    answer = await mesh.rest("GET", f"/api/v1/notifications/{sent}:explain")
    assert answer.status == 200, answer.text
    push, sms = answer.body["channels"]
    assert (push["channel"], push["status"]) == ("push", "sent")
    assert push["deliveries"][0]["delivery"]["attempts"][0]["outcome"] == "sent"
    assert (sms["status"], sms["reason"]) == ("skipped", "channel_disabled")
    assert sms["summary"].endswith("(sms_enabled is off)")
    told = await mesh.client.explain(sent)
    assert told.summary == answer.body["summary"]
