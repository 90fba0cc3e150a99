from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_SCHEDULED,
    EventChunk,
)
from clarion.api.router.v1.notification_service_pb2 import (
    BatchSendNotificationsRequest,
    BroadcastNotificationRequest,
    CancelNotificationRequest,
    RescheduleNotificationRequest,
)
from clarion.router.fan_out import member_id
from clarion.router.notification_types import TypePolicy
from clarion.router.storing import Accepted
from clarion.runtime.errors import (
    IdempotencyKeyReusedError,
    InvalidArgumentError,
    UnavailableError,
)
from clarion.runtime.jetstream import StreamFullError
from clarion.runtime.testing import refused


def of_topic(notify: Any, **fields: Any) -> Any:
    return notify(**{"user_id": "", **fields})


async def test_a_broadcast_is_one_item_on_the_low_lane(
    front_door: Any, notify: Any, clock: Any
) -> None:
    accepted = await front_door.broadcast("news", of_topic(notify, data={"n": 1}))
    (item,) = front_door.stored("low")
    assert accepted == Accepted(item.notification_id, "accepted")
    assert (item.tenant_id, item.key_id) == ("demo", "key-1")
    assert item.broadcast.topic == "news"
    assert (item.broadcast.page_token, item.broadcast.reached) == ("", 0)
    expected = of_topic(notify, data={"n": 1}, priority="low")
    assert item.notification == expected
    assert item.accepted_time.ToDatetime(clock.now().tzinfo) == clock.now()


async def test_a_broadcast_of_a_type_with_a_template_needs_no_words(
    front_door: Any, notify: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = TypePolicy("news", template_id="weekly")
    types = SimpleNamespace(policy=lambda tenant, type_: policy)
    monkeypatch.setattr(front_door.broadcasting, "_types", types)
    await front_door.broadcast("news", of_topic(notify, title=""))
    assert len(front_door.stored("low")) == 1


async def test_a_broadcast_may_name_its_lane(front_door: Any, notify: Any) -> None:
    await front_door.broadcast("news", of_topic(notify, priority="high"))
    assert len(front_door.stored("high")) == 1


async def test_a_repeated_broadcast_is_one(front_door: Any, notify: Any) -> None:
    keyed = of_topic(notify, idempotency_key="k")
    first = await front_door.broadcast("news", keyed)
    assert await front_door.broadcast("news", keyed) == first
    assert len(front_door.stored("low")) == 1


@pytest.mark.parametrize(
    ("topic", "fields"),
    [("sport", {}), ("news", {"title": "Other"}), ("news", {"priority": "high"})],
    ids=["topic", "text", "lane"],
)
async def test_another_broadcast_under_a_used_key_is_refused(
    front_door: Any, notify: Any, topic: str, fields: dict[str, Any]
) -> None:
    await front_door.broadcast("news", of_topic(notify, idempotency_key="k"))
    other = of_topic(notify, idempotency_key="k", **fields)
    with pytest.raises(IdempotencyKeyReusedError):
        await front_door.broadcast(topic, other)


async def test_a_send_and_a_broadcast_may_have_the_same_key(
    front_door: Any, notify: Any
) -> None:
    sent = await front_door.accept(notify(idempotency_key="k"))
    told = await front_door.broadcast("news", of_topic(notify, idempotency_key="k"))
    assert sent.notification_id != told.notification_id


async def test_a_broadcast_for_later_waits_in_the_schedule(
    front_door: Any, notify: Any, clock: Any
) -> None:
    due = clock.now() + timedelta(hours=1)
    accepted = await front_door.broadcast("news", of_topic(notify, scheduled_at=due))
    assert accepted.status == "scheduled"
    (waiting,) = front_door.scheduler.scheduled.values()
    assert (waiting.due, waiting.target) == (due, "due.intake.low")
    assert not front_door.stored("low")
    (told,) = front_door.publisher.on("events.router")
    (event,) = EventChunk.FromString(told.body).events
    assert event.kind == EVENT_KIND_SCHEDULED
    # Accepted are its subscribers' notifications.
    assert not event.postponed.HasField("accepted_time")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"user_id": "ada"}, "notification.user_id"),
    ({"scheduled_at": {"seconds": 2**34}}, "notification.scheduled_at"),
    ({"type": ""}, "notification.type"),
    ({"title": ""}, "notification.title"),
    ({"title": "x" * 300}, "notification.title"),
    ({"channels": ["fax"]}, "notification.channels[0]"),
    ({"expires_at": {"seconds": 1}}, "notification.expires_at"),
    ({"priority": "urgent"}, "notification.priority"),
]


@pytest.mark.parametrize(("fields", "field"), REFUSED, ids=[f for _, f in REFUSED])
async def test_a_broadcast_that_cannot_be_is_refused_naming_the_field(
    front_door: Any, notify: Any, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidArgumentError) as refusal:
        await front_door.broadcast("news", of_topic(notify, **fields))
    assert [violation.field for violation in refusal.value.violations] == [field]
    assert not front_door.publisher.published


@pytest.mark.parametrize("error", [UnavailableError, StreamFullError])
async def test_a_broadcast_that_was_not_stored_can_be_repeated(
    front_door: Any, notify: Any, error: type[Exception]
) -> None:
    keyed = of_topic(notify, idempotency_key="k")
    front_door.publisher.error = error()
    with pytest.raises(error):
        await front_door.broadcast("news", keyed)
    front_door.publisher.error = None
    await front_door.broadcast("news", keyed)
    assert len(front_door.stored("low")) == 1


async def broadcast(running: Any, topic: str, notification: Any) -> Any:
    request = BroadcastNotificationRequest(topic=topic, notification=notification)
    return await running.stub.BroadcastNotification(request, timeout=20)


async def test_every_subscriber_gets_a_job_and_a_decision(
    router: Any, notify: Any, neighbour_server: Any, neighbours: Any, person: Any
) -> None:
    people = [f"user-{number}" for number in range(2300)]
    neighbours.people.update({user_id: person(user_id) for user_id in people})
    neighbour_server.topics.subscribers["news"] |= {*people, "stranger"}
    told = await broadcast(router, "news", of_topic(notify, channels=["email"]))
    jobs = await router.until(lambda: router.jobs("work.email.low.>"), 2300, 20)
    assert {(job.notification_id, job.user_id) for job in jobs} == {
        (member_id(router.tenant, told.broadcast_id, user_id), user_id)
        for user_id in people
    }
    assert len(jobs) == 2300
    events = await router.until(router.events, 2304, 10)
    pages = [event.spread for event in events if event.HasField("spread")]
    assert sorted((page.subscribers, page.is_complete) for page in pages) == [
        (1000, False),
        (2000, False),
        (2301, True),
    ]
    (skipped,) = [event for event in events if event.user_id == "stranger"]
    reason = skipped.decided.decision.channels[0].reason
    assert reason == "unknown_recipient"


async def test_one_who_cannot_be_routed_does_not_hold_up_the_topic(
    router: Any, notify: Any, neighbour_server: Any, neighbours: Any, person: Any
) -> None:
    people = [f"user-{number}" for number in range(50)]
    neighbours.people.update({user_id: person(user_id) for user_id in people})
    neighbours.refused.add("bad")
    neighbour_server.topics.subscribers["news"] |= {*people, "bad"}
    await broadcast(router, "news", of_topic(notify, channels=["sms"]))
    jobs = await router.until(lambda: router.jobs("work.sms.low.>"), 50, 10)
    assert {job.user_id for job in jobs} == set(people)


async def test_a_broadcast_that_names_a_person_or_no_topic_is_refused(
    router: Any, notify: Any
) -> None:
    with refused() as refusal:
        await broadcast(router, "news", notify())
    assert list(refusal.fields) == ["notification.user_id"]
    with refused() as refusal:
        await broadcast(router, "no topic", of_topic(notify))
    assert list(refusal.fields) == ["topic"]
    with refused() as refusal:
        await broadcast(router, "news", None)
    assert "notification.type" in refusal.fields


async def test_a_scheduled_broadcast_asks_for_the_topic_when_it_is_due(
    router: Any, notify: Any, neighbour_server: Any, neighbours: Any, person: Any
) -> None:
    neighbours.people["eve"] = person("eve")
    due = datetime.now(UTC) + timedelta(seconds=1.2)
    later = of_topic(notify, channels=["email"], scheduled_at=due)
    told = await broadcast(router, "later", later)
    assert told.status == "scheduled"
    neighbour_server.topics.subscribers["later"] |= {"eve"}
    (job,) = await router.until(lambda: router.jobs("work.email.low.>"), 1, 5)
    assert job.user_id == "eve"
    events = await router.events()
    assert {event.user_id for event in events if event.HasField("decided")} == {"eve"}
    assert {event.notification_id for event in events if not event.user_id} == {
        told.broadcast_id
    }


async def test_a_cancelled_broadcast_never_fires(
    router: Any, notify: Any, neighbour_server: Any, neighbours: Any, person: Any
) -> None:
    neighbours.people["eve"] = person("eve")
    neighbour_server.topics.subscribers["gone"] |= {"eve"}
    neighbour_server.topics.subscribers["kept"] |= {"eve"}
    due = datetime.now(UTC) + timedelta(seconds=1)
    later = of_topic(notify, channels=["email"], scheduled_at=due)
    gone = await broadcast(router, "gone", later)
    later.scheduled_at.FromDatetime(due + timedelta(milliseconds=500))
    kept = await broadcast(router, "kept", later)
    request = CancelNotificationRequest(notification_id=gone.broadcast_id)
    assert (await router.stub.CancelNotification(request)).status == "cancelled"
    (job,) = await router.until(lambda: router.jobs("work.email.low.>"), 1, 5)
    expected = member_id(router.tenant, kept.broadcast_id, "eve")
    assert job.notification_id == expected


async def test_others_on_the_lane_are_served_while_a_topic_is(
    router: Any, notify: Any, neighbour_server: Any, neighbours: Any, person: Any
) -> None:
    people = [f"user-{number}" for number in range(3000)]
    neighbours.people.update({user_id: person(user_id) for user_id in people})
    neighbour_server.topics.subscribers["news"] |= set(people)
    await broadcast(router, "news", of_topic(notify, channels=["push"]))
    single = notify(channels=["email"], priority="low")
    request = BatchSendNotificationsRequest(notifications=[single])
    await router.stub.BatchSendNotifications(request)
    await router.until(lambda: router.jobs("work.email.low"), 1, 10)
    await router.until(lambda: router.jobs("work.push.low.>"), 6000, 20)


async def test_a_scheduled_broadcast_is_rescheduled_and_cancelled_by_its_key(
    router: Any, notify: Any, neighbour_server: Any, neighbours: Any, person: Any
) -> None:
    neighbours.people["eve"] = person("eve")
    neighbour_server.topics.subscribers["keyed"] |= {"eve"}
    due = datetime.now(UTC) + timedelta(hours=1)
    keyed = of_topic(notify, idempotency_key="b-1", scheduled_at=due)
    told = await broadcast(router, "keyed", keyed)
    sooner = RescheduleNotificationRequest(idempotency_key="b-1")
    sooner.scheduled_at.FromDatetime(due - timedelta(minutes=30))
    answer = await router.stub.RescheduleNotification(sooner)
    assert (answer.notification_id, answer.status) == (told.broadcast_id, "scheduled")
    request = CancelNotificationRequest(idempotency_key="b-1")
    gone = await router.stub.CancelNotification(request)
    assert (gone.notification_id, gone.status) == (told.broadcast_id, "cancelled")
