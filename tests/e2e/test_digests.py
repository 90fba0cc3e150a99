from __future__ import annotations

import asyncio


async def put_type(mesh, name: str, **fields: object) -> None:
    answer = await mesh.rest("PUT", f"/api/v1/types/{name}", fields)
    assert answer.status == 200, answer.text


def went_to(record) -> set[str]:
    """The notifications that a record's timeline says it became a part of."""
    return {
        entry["digest_notification_id"]
        for entry in record["timeline"]
        if entry["event"] == "digested"
    }


async def digested(mesh, notification_id: str):
    """The record, once it says where the notification went."""

    async def look():
        record = await mesh.get(notification_id)
        # The row is read before the timeline: what came in between is only in one.
        return record if "due_time" in record and went_to(record) else None

    record = await mesh.eventually(look, what="digested")
    assert record["status"] == "digested"
    return record


async def test_five_events_become_one_message_with_all_of_them(mesh, of_channel):
    person = await mesh.person()
    await put_type(mesh, "post_liked", digest={"mode": "fixed", "window": "3s"})
    asked = {
        "user_id": person.user_id,
        "type": "post_liked",
        "title": "Liked",
        "channels": ["email", "push", "in_app"],
    }
    explained = await mesh.rest("POST", "/api/v1/notifications:explain", asked)
    outcomes = {c["outcome"] for c in explained.body["decision"]["channels"]}
    assert outcomes == {"digested"}
    sent = await asyncio.gather(
        *(
            mesh.send(
                person,
                "email",
                "push",
                "in_app",
                type="post_liked",
                title=f"Reader {number}",
                message="likes your post.",
                data={"reader": number},
                priority=("high", "low")[number % 2],
            )
            for number in range(5)
        )
    )
    records = [await digested(mesh, one) for one in sent]
    (digest,) = {id for record in records for id in went_to(record)}
    (mail,) = await mesh.arrived(digest, provider="smtp")
    for number in range(5):
        assert f"Reader {number}: likes your post." in str(mail)
    (item,) = await mesh.in_inbox(person.user_id)
    assert item["data"]["count"] == 5
    assert {one["notification_id"] for one in item["data"]["items"]} == set(sent)
    assert {one["data"]["reader"] for one in item["data"]["items"]} == set(range(5))
    record = await mesh.has_status(digest, "sent", "delivered", "read")
    assert {one["channel"] for one in record["deliveries"]} == {
        "email",
        "push",
        "in_app",
    }
    for one in sent:
        assert await mesh.sandbox.messages(notification_id=one) == []
        record = await mesh.get(one)
        assert record["status"] == "digested"
        assert {d["status"] for d in of_channel(record, "email")} == {"digested"}
    assert len(await mesh.inbox(person.user_id)) == 1


async def test_what_is_over_a_limit_waits_for_one_message(mesh):
    person = await mesh.person()
    await mesh.prefer(person, frequency_limits={"tips": {"daily": 1}})
    await put_type(mesh, "tip", category="tips", over_limit_policy="digest")
    first = await mesh.send(person, "push", type="tip")
    await mesh.arrived(first)
    rest = [await mesh.send(person, "push", type="tip") for _ in range(3)]
    records = [await digested(mesh, one) for one in rest]
    assert {one["deliveries"][0]["reason"] for one in records} == {"daily_limit"}
    assert len({id for record in records for id in went_to(record)}) == 1
    (due,) = {record["due_time"] for record in records}
    assert due > records[0]["accepted_time"]
    cancelled = await mesh.client.cancel(rest[0])
    assert cancelled.status == "cancelled"
    await mesh.has_status(rest[0], "cancelled")
    # The others wait for the next day.
    assert await mesh.sandbox.messages(notification_id=rest[1]) == []


async def test_a_digest_of_a_topic_escalates_until_it_is_cancelled(mesh):
    spared, reached = [await mesh.person() for _ in range(2)]
    await put_type(
        mesh,
        "post_shared",
        channels=["in_app", "sms"],
        strategy="escalate",
        escalate_after="6s",
        digest={"window": "2s"},
    )
    topic = f"post-{spared.user_id}"
    await mesh.client.subscribe(topic, [spared.user_id, reached.user_id])
    for number in range(3):
        answer = await mesh.rest(
            "POST",
            f"/api/v1/topics/{topic}/notifications",
            {"type": "post_shared", "title": f"Shared {number}"},
        )
        assert answer.status == 200, answer.text
    (item,) = await mesh.in_inbox(spared.user_id)
    assert item["title"] == "3 × post_shared"
    path = f"/api/v1/notifications/{item['notification_id']}:cancel"
    assert (await mesh.rest("POST", path, {})).body["status"] == "cancelling"
    (other,) = await mesh.in_inbox(reached.user_id)
    await mesh.arrived(other["notification_id"], channel="sms")
    assert not await mesh.sandbox.messages(recipient=spared.phone_number)
    record = await mesh.get(item["notification_id"])
    assert "cancelled" in [entry["event"] for entry in record["timeline"]]


async def test_a_deferred_notification_to_who_was_forgotten_meanwhile_is_not_sent(
    mesh,
):
    person = await mesh.person()
    await put_type(
        mesh,
        "post_seen",
        channels=["push"],
        limits=[{"span": "6s", "most": 1}],
        over_limit_policy="defer",
    )
    await mesh.arrived(await mesh.send(person, type="post_seen"))
    waiting = await mesh.send(person, type="post_seen")
    await mesh.has_status(waiting, "deferred")
    answer = await mesh.rest("DELETE", f"/api/v1/users/{person.user_id}")
    assert answer.status == 200, answer.text
    record = await mesh.has_status(waiting, "skipped")
    (delivery,) = record["deliveries"]
    assert delivery["reason"] == "unknown_recipient"
