from __future__ import annotations

from datetime import UTC, datetime, timedelta

AFTER = 2.0


async def put_type(mesh, name: str, **fields) -> str:
    answer = await mesh.rest("PUT", f"/api/v1/types/{name}", fields)
    assert answer.status == 200, answer.text
    return name


async def escalating(mesh, name: str) -> str:
    return await put_type(
        mesh,
        name,
        channels=["in_app", "sms"],
        strategy="escalate",
        escalate_after=f"{AFTER:.0f}s",
    )


def ends(record, channel: str) -> list[tuple[str, str]]:
    return [
        (one["status"], one["reason"])
        for one in record["deliveries"]
        if one["channel"] == channel
    ]


async def test_what_is_read_in_the_inbox_is_sent_by_no_sms(mesh, sandbox):
    type_ = await escalating(mesh, "e2e_read")
    person = await mesh.person()
    sent = await mesh.send(person, type=type_)
    (item,) = await mesh.in_inbox(person.user_id)
    answer = await mesh.rest(
        "POST",
        f"/api/v1/users/{person.user_id}/inbox:mark",
        {"item_ids": [item["item_id"]], "mark": "read"},
    )
    assert answer.status == 200, answer.text

    async def is_over() -> bool:
        record = await mesh.get(sent)
        return bool(record) and ends(record, "sms") == [("skipped", "already_read")]

    await mesh.eventually(is_over, timeout=30, what="the step that was not needed")
    record = await mesh.has_status(sent, "read")
    assert record["decision"]["strategy"] == "escalate"
    assert not await sandbox.messages(notification_id=sent)


async def test_what_nobody_reads_is_sent_by_sms_at_the_deadline(mesh):
    type_ = await escalating(mesh, "e2e_unread")
    person = await mesh.person()
    sent = await mesh.send(person, type=type_)
    (text,) = await mesh.arrived(sent, provider="twilio", timeout=30)
    record = await mesh.has_status(sent, "delivered", "sent")
    in_app, sms = (
        next(one for one in record["decision"]["channels"] if one["channel"] == name)
        for name in ("in_app", "sms")
    )
    assert (in_app["outcome"], sms["outcome"]) == ("planned", "planned")
    decided = [entry for entry in record["timeline"] if entry["event"] == "decided"]
    first, second = (datetime.fromisoformat(entry["time"]) for entry in decided)
    waited = (second - first).total_seconds()
    # A machine with much else to do may be late; it is never early.
    assert waited + 0.01 >= AFTER
    assert waited < AFTER + 5
    assert text["payload"]["To"] == person.phone_number
    assert datetime.now(UTC) - first > timedelta(seconds=AFTER)


async def test_a_channel_that_fails_for_good_gives_the_next_one_its_turn(mesh, sandbox):
    person = await mesh.person()
    await sandbox.script(
        {
            "match": {"provider": "fcm", "recipient": person.token},
            "action": {"unregistered": True},
        }
    )
    sent = await mesh.send(person, "push", "email", "sms", strategy="first_available")
    await mesh.arrived(sent, provider="smtp", timeout=30)
    record = await mesh.has_status(sent, "sent", "delivered")
    assert ends(record, "push") == [("failed", "unregistered_token")]
    assert ends(record, "sms") == [("standby", "first_available")]
    assert not await sandbox.messages(notification_id=sent, provider="twilio")
