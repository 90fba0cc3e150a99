"""Providers that misbehave, by the sandbox's script."""

from __future__ import annotations

from typing import Any

import pytest


def to(person, provider: str, action: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A rule for one person at one provider."""
    recipient = {
        "fcm": person.token,
        "apns": person.ios_token,
        "smtp": person.email,
        "twilio": person.phone_number,
    }[provider]
    match = {"provider": provider, "recipient": recipient}
    return {"match": match, "action": action, **more}


def outcomes(record, of_channel, channel: str) -> list[str]:
    (delivery,) = of_channel(record, channel)
    return [attempt["outcome"] for attempt in delivery["attempts"]]


async def test_503_twice_is_tried_again_and_delivered_once(mesh, sandbox, of_channel):
    person = await mesh.person()
    await sandbox.script(to(person, "fcm", {"status": 503}, times=2))
    sent = await mesh.send(person, "push")
    await mesh.arrived(sent, timeout=30)
    record = await mesh.has_status(sent, "sent")
    assert outcomes(record, of_channel, "push") == ["retrying", "retrying", "sent"]
    assert len(await sandbox.messages(notification_id=sent)) == 3
    assert len(await sandbox.accepted(notification_id=sent)) == 1


@pytest.mark.parametrize(
    ("provider", "channel", "action"),
    [
        ("fcm", "push", {"status": 429, "retry_after": 4}),
        ("twilio", "sms", {"code": 20429, "retry_after": 4}),
    ],
)
async def test_429_waits_as_long_as_the_provider_asks(
    mesh, sandbox, of_channel, provider: str, channel: str, action: dict[str, Any]
):
    person = await mesh.person()
    await sandbox.script(to(person, provider, action, times=1))
    sent = await mesh.send(person, channel)
    await mesh.arrived(sent, timeout=30)
    record = await mesh.was_tried(sent, channel, 2)
    (delivery,) = of_channel(record, channel)
    first, second = delivery["attempts"]
    assert (first["reason"], second["outcome"]) == ("rate_limited", "sent")
    refused, taken = reversed(await sandbox.messages(notification_id=sent))
    assert _seconds_between(refused, taken) >= 4


def _seconds_between(one: dict[str, Any], other: dict[str, Any]) -> float:
    from datetime import datetime

    first, second = (
        datetime.fromisoformat(message["arrived_time"]) for message in (one, other)
    )
    return (second - first).total_seconds()


@pytest.mark.parametrize("provider", ["fcm", "apns"])
async def test_unregistered_token_fails_and_its_device_is_removed(
    mesh, sandbox, of_channel, provider: str
):
    person = await mesh.person(ios=True)
    await sandbox.script(to(person, provider, {"unregistered": True}))
    sent = await mesh.send(person, "push")
    dead = person.token if provider == "fcm" else person.ios_token
    living = person.ios_token if provider == "fcm" else person.token

    async def is_removed() -> bool:
        answer = await mesh.rest("GET", f"/api/v1/users/{person.user_id}")
        tokens = [one["token"] for one in answer.body["recipient"]["devices"]]
        assert living in tokens
        return dead not in tokens

    await mesh.eventually(is_removed, what="the device to be removed")

    async def is_settled() -> bool:
        found = of_channel(await mesh.get(sent), "push")
        return {one["status"] for one in found} == {"sent", "failed"}

    await mesh.eventually(is_settled, what="one device sent to, one failed")
    # A channel whose other device got it has not failed.
    await mesh.has_status(sent, "sent")
    again = await mesh.send(person, "push")
    (message,) = await mesh.arrived(again)
    assert message["recipient"] == living


async def test_notification_to_a_dead_device_alone_fails(mesh, sandbox, of_channel):
    person = await mesh.person()
    await sandbox.script(to(person, "fcm", {"unregistered": True}))
    sent = await mesh.send(person, "push")
    record = await mesh.has_status(sent, "failed")
    (delivery,) = of_channel(record, "push")
    assert delivery["reason"] == "unregistered_token"
    assert len(delivery["attempts"]) == 1


@pytest.mark.parametrize(
    ("provider", "channel"), [("fcm", "push"), ("smtp", "email"), ("twilio", "sms")]
)
async def test_hang_up_after_accepting_is_unknown_and_tried_again(
    mesh, sandbox, of_channel, of_timeline, provider: str, channel: str
):
    person = await mesh.person()
    rule = to(person, provider, {"hang_up": "after"}, times=1)
    await sandbox.script(rule)
    sent = await mesh.send(person, channel)
    # Taken and not told: the one case in which a person may get it twice.
    await mesh.arrived(sent, 2, timeout=30)
    record = await mesh.was_tried(sent, channel, 2)
    assert outcomes(record, of_channel, channel) == ["unknown", "sent"]
    assert "unknown" in of_timeline(record, channel)
    assert len(await sandbox.accepted(notification_id=sent)) == 2


@pytest.mark.parametrize(
    ("provider", "channel"), [("fcm", "push"), ("smtp", "email"), ("twilio", "sms")]
)
async def test_hang_up_before_accepting_is_delivered_once(
    mesh, sandbox, of_channel, provider: str, channel: str
):
    person = await mesh.person()
    rule = to(person, provider, {"hang_up": "before"}, times=1)
    await sandbox.script(rule)
    sent = await mesh.send(person, channel)
    await mesh.arrived(sent, timeout=30)
    # A mail that has not left is sent on another connection in the same attempt; of
    # a request that has left nobody can tell whether it was taken.
    tries = ["sent"] if provider == "smtp" else ["unknown", "sent"]
    record = await mesh.was_tried(sent, channel, len(tries))
    assert outcomes(record, of_channel, channel) == tries
    assert len(await sandbox.accepted(notification_id=sent)) == 1


async def test_mail_to_no_mailbox_fails_and_the_address_is_suppressed(
    mesh, sandbox, of_channel
):
    person = await mesh.person()
    await sandbox.script(to(person, "smtp", {"code": "550 5.1.1"}))
    sent = await mesh.send(person, "email")
    record = await mesh.has_status(sent, "failed")
    (delivery,) = of_channel(record, "email")
    assert len(delivery["attempts"]) == 1

    async def is_suppressed() -> bool:
        answer = await mesh.rest(
            "GET", "/api/v1/suppressions", params={"channel": "email"}
        )
        found = {one["address"]: one for one in answer.body["suppressions"]}
        return found.get(person.email, {}).get("reason") == "bounce"

    await mesh.eventually(is_suppressed, what="the suppression")
    await sandbox.script()
    again = await mesh.send(person, "email", "push")
    await mesh.arrived(again, channel="push")
    record = await mesh.has_status(again, "sent")
    (delivery,) = of_channel(record, "email")
    assert delivery["status"] == "suppressed"
    assert await sandbox.messages(notification_id=again, channel="email") == []


async def test_mail_for_which_the_mailbox_is_full_fails_without_suppression(
    mesh, sandbox
):
    person = await mesh.person()
    await sandbox.script(to(person, "smtp", {"code": "552 5.2.2"}, times=1))
    await mesh.has_status(await mesh.send(person, "email"), "failed")
    await mesh.arrived(await mesh.send(person, "email"))


async def test_number_that_sent_stop_is_suppressed_at_its_first_refusal(
    mesh, sandbox, of_channel
):
    person = await mesh.person()
    await sandbox.script(to(person, "twilio", {"code": 21610}))
    sent = await mesh.send(person, "sms")
    await mesh.has_status(sent, "failed")
    await sandbox.script()

    async def is_suppressed() -> bool:
        again = await mesh.send(person, "sms")
        record = await mesh.has_status(again, "skipped", "sent", "delivered")
        (delivery,) = of_channel(record, "sms")
        assert delivery["status"] == "suppressed", delivery
        return await sandbox.messages(notification_id=again) == []

    async def is_known() -> bool:
        answer = await mesh.rest(
            "GET", "/api/v1/suppressions", params={"channel": "sms"}
        )
        addresses = [one["address"] for one in answer.body["suppressions"]]
        return person.phone_number in addresses

    await mesh.eventually(is_known, what="the suppression")
    assert await is_suppressed()


async def test_stop_and_start_of_a_person_are_heeded(mesh, sandbox):
    person = await mesh.person()
    first = await mesh.send(person, "sms")
    (message,) = await mesh.arrived(first)
    ours = message["payload"]["From"]

    async def suppressions() -> list[str]:
        answer = await mesh.rest(
            "GET", "/api/v1/suppressions", params={"channel": "sms"}
        )
        return [one["address"] for one in answer.body["suppressions"]]

    async def is_stopped() -> bool:
        return person.phone_number in await suppressions()

    async def is_started() -> bool:
        return person.phone_number not in await suppressions()

    words = {"from": person.phone_number, "to": ours}
    await sandbox.receipt(inbound=words | {"body": "STOP"})
    await mesh.eventually(is_stopped, what="STOP to be heeded")
    second = await mesh.send(person, "sms")
    await mesh.has_status(second, "skipped")
    await sandbox.receipt(inbound=words | {"body": "START"})
    await mesh.eventually(is_started, what="START to be heeded")
    await mesh.arrived(await mesh.send(person, "sms"))


async def test_receipts_late_twice_and_out_of_order_converge(mesh, sandbox, of_channel):
    person = await mesh.person()
    receipts = [
        {"status": "delivered", "after_ms": 50},
        {"status": "sent", "after_ms": 300},
        {"status": "delivered", "after_ms": 400},
        {"status": "delivered", "after_ms": 400},
        {"status": "queued", "after_ms": 500},
    ]
    await sandbox.script(to(person, "twilio", {"receipts": receipts}))
    sent = await mesh.send(person, "sms")
    (message,) = await mesh.arrived(sent)

    async def all_told() -> bool:
        async with sandbox.http.get(f"{sandbox.url}/receipts") as response:
            newest = (await response.json())["newest"]
        mine = [
            one for one in newest if one["message_id"] == message["provider_message_id"]
        ]
        assert all(one["answered"] in (200, 204) for one in mine), mine
        return len(mine) == len(receipts)

    await mesh.eventually(all_told, what="all receipts")
    record = await mesh.has_status(sent, "delivered")
    (delivery,) = of_channel(record, "sms")
    assert delivery["status"] == "delivered"
    told = [one["event"] for one in record["timeline"] if one["channel"] == "sms"]
    assert told == ["sent", "delivered"]


async def test_receipt_of_failure_makes_the_delivery_failed(mesh, sandbox, of_channel):
    person = await mesh.person()
    receipts = [
        {"status": "sent", "after_ms": 20},
        {"status": "undelivered", "after_ms": 100, "error_code": "30005"},
    ]
    await sandbox.script(to(person, "twilio", {"receipts": receipts}))
    sent = await mesh.send(person, "sms")
    record = await mesh.has_status(sent, "failed")
    (delivery,) = of_channel(record, "sms")
    assert delivery["status"] == "failed"
    assert delivery["reason"]
