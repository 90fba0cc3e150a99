from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_DECIDED,
    EVENT_KIND_SCHEDULED,
    EventChunk,
)
from clarion.api.event.v1.work_pb2 import IntakeChunk
from clarion.api.router.v1.notification_pb2 import Notification
from clarion.api.router.v1.notification_service_pb2 import (
    CancelNotificationRequest,
    RescheduleNotificationRequest,
    SendNotificationRequest,
)
from clarion.router.admission import AdmissionLimits
from clarion.router.cancelling import InMemoryCancelMarks
from clarion.router.idempotency import InMemoryIdempotencyKeys, KeyedBody
from clarion.router.naming import Named, Naming, broadcast_id_for_key
from clarion.router.rescheduling import Rescheduling, objections
from clarion.runtime import chunks
from clarion.runtime.errors import (
    InvalidArgumentError,
    NotFoundError,
    PreconditionError,
    UnavailableError,
)
from clarion.runtime.ids import notification_id_for_key
from clarion.runtime.jetstream import (
    GroupPublisher,
    InMemoryPublisher,
    InMemoryRescheduler,
    InMemoryScheduler,
)
from clarion.runtime.testing import FakeClock, refused

HOUR = timedelta(hours=1)
LIMITS = AdmissionLimits(["push"], 65_536, timedelta(days=10))


def stamp(at: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(at)
    return made


@dataclass
class Parts:
    rescheduling: Rescheduling
    scheduler: InMemoryScheduler
    marks: InMemoryCancelMarks
    keys: InMemoryIdempotencyKeys
    publisher: InMemoryPublisher

    def told(self) -> list[Any]:
        return [
            event
            for message in self.publisher.published
            for event in EventChunk.FromString(message.body).events
        ]


@pytest.fixture
async def parts(clock: FakeClock) -> AsyncIterator[Parts]:
    scheduler, marks = InMemoryScheduler(), InMemoryCancelMarks()
    keys, publisher = InMemoryIdempotencyKeys(), InMemoryPublisher()
    events = GroupPublisher(publisher, "events.router", chunks.join)
    rescheduling = Rescheduling(
        InMemoryRescheduler(scheduler), marks, keys, events, LIMITS, clock
    )
    yield Parts(rescheduling, scheduler, marks, keys, publisher)
    await events.close()


@pytest.fixture
def waiting(parts: Parts, make_item: Any, clock: FakeClock) -> Any:
    """Schedules a notification for in an hour."""

    async def make(kind: str = "intake", **fields: Any) -> Named:
        due = clock.now() + HOUR
        item = make_item(scheduled_at=stamp(due), **fields)
        await parts.scheduler.schedule(
            f"later.{kind}.demo.{item.notification_id}",
            target="due.intake.low",
            due=due,
            body=chunks.join([item.SerializeToString()]),
            message_id=item.notification_id,
        )
        return Named(item.notification_id)

    return make


async def test_the_schedule_the_item_and_the_event_get_the_new_time(
    parts: Parts, waiting: Any, clock: FakeClock
) -> None:
    named = await waiting()
    at = clock.now() + 3 * HOUR
    assert await parts.rescheduling.reschedule("demo", named, stamp(at)) == "scheduled"
    (stored,) = parts.scheduler.scheduled.values()
    (item,) = IntakeChunk.FromString(stored.body).items
    assert (stored.due, stored.target) == (at, "due.intake.low")
    assert item.notification.scheduled_at == stamp(at)
    (event,) = parts.told()
    assert event.kind == EVENT_KIND_SCHEDULED
    assert event.postponed.due_time == stamp(at)
    assert event.notification_id == named.notification_id


async def test_each_change_is_told_by_an_event_of_its_own_and_a_repeat_by_the_same(
    parts: Parts, waiting: Any, clock: FakeClock
) -> None:
    named = await waiting()
    for hours in (3, 2, 2, 3):
        at = stamp(clock.now() + hours * HOUR)
        await parts.rescheduling.reschedule("demo", named, at)
    ids = [event.event_id for event in parts.told()]
    assert len(set(ids)) == 3
    assert ids[1] == ids[2]


async def test_a_time_in_the_past_means_now(
    parts: Parts, waiting: Any, clock: FakeClock
) -> None:
    named = await waiting()
    at = stamp(clock.now() - HOUR)
    assert await parts.rescheduling.reschedule("demo", named, at) == "accepted"
    assert len(parts.scheduler.fire(clock.now())) == 1


async def test_nothing_is_scheduled_under_an_unknown_id(
    parts: Parts, clock: FakeClock
) -> None:
    named = Named(str(uuid.uuid4()))
    with pytest.raises(NotFoundError, match="nothing is scheduled") as error:
        await parts.rescheduling.reschedule("demo", named, stamp(clock.now()))
    assert error.value.metadata["id"] == named.notification_id


async def test_what_was_sent_under_a_known_key_says_so(
    parts: Parts, clock: FakeClock
) -> None:
    await parts.keys.reserve([KeyedBody("demo", "n", "digest")])
    with pytest.raises(PreconditionError, match="fell due") as error:
        await parts.rescheduling.reschedule(
            "demo", Named("n", "key"), stamp(clock.now())
        )
    assert error.value.metadata == {"state": "sent"}


async def test_what_was_cancelled_says_so(parts: Parts, clock: FakeClock) -> None:
    await parts.marks.begin("demo", "n")
    with pytest.raises(PreconditionError, match="cancelled") as error:
        await parts.rescheduling.reschedule("demo", Named("n"), stamp(clock.now()))
    assert error.value.metadata == {"state": "cancelled"}


async def test_what_is_deferred_says_so(
    parts: Parts, waiting: Any, clock: FakeClock
) -> None:
    named = await waiting("release")
    with pytest.raises(PreconditionError, match="waits for") as error:
        await parts.rescheduling.reschedule("demo", named, stamp(clock.now()))
    assert error.value.metadata == {"state": "deferred"}


@pytest.mark.parametrize(
    ("at", "words"),
    [
        (timedelta(days=11), "more than 10 days ahead"),
        (3 * HOUR, "before the notification's expires_at"),
        (2 * HOUR, "before the notification's expires_at"),
    ],
)
async def test_a_time_that_would_not_be_accepted_is_refused_and_changes_nothing(
    parts: Parts, waiting: Any, clock: FakeClock, at: timedelta, words: str
) -> None:
    named = await waiting(expires_at=stamp(clock.now() + 2 * HOUR))
    before = dict(parts.scheduler.scheduled)
    with pytest.raises(InvalidArgumentError, match=words) as error:
        await parts.rescheduling.reschedule("demo", named, stamp(clock.now() + at))
    assert {v.field for v in error.value.violations} == {"scheduled_at"}
    assert parts.scheduler.scheduled == before


@pytest.mark.parametrize("seconds", [-99_999_999_999, 999_999_999_999])
def test_what_is_no_instant_is_refused(clock: FakeClock, seconds: int) -> None:
    (wrong,) = objections(
        Notification(), Timestamp(seconds=seconds), LIMITS, clock.now()
    )
    assert (wrong.field, wrong.reason) == ("scheduled_at", "instant")


async def test_while_the_stream_does_not_answer_it_is_unavailable(
    parts: Parts, waiting: Any, clock: FakeClock
) -> None:
    named = await waiting()
    parts.scheduler.error = UnavailableError("no")
    with pytest.raises(UnavailableError):
        await parts.rescheduling.reschedule("demo", named, stamp(clock.now()))


async def send(router: Any, notification: Any) -> str:
    request = SendNotificationRequest(notification=notification)
    return str((await router.stub.SendNotification(request)).notification_id)


async def reschedule(router: Any, at: datetime, **names: str) -> Any:
    request = RescheduleNotificationRequest(scheduled_at=stamp(at), **names)
    return await router.stub.RescheduleNotification(request)


async def test_a_rescheduled_notification_is_sent_once_at_its_new_time(
    router: Any, notify: Any
) -> None:
    due = stamp(datetime.now(UTC) + HOUR)
    notification = notify(channels=["email"], scheduled_at=due, idempotency_key="k")
    sent = await send(router, notification)
    at = datetime.now(UTC) + timedelta(seconds=1.5)
    answer = await reschedule(router, at, idempotency_key="k")
    assert (answer.notification_id, answer.status) == (sent, "scheduled")
    jobs = await router.until(lambda: router.jobs("work.email.>"), 1, 8)
    assert datetime.now(UTC) >= at
    assert [job.notification_id for job in jobs] == [sent]
    events = await router.until(router.events, 3, 5)
    assert [event.kind for event in events] == [
        EVENT_KIND_SCHEDULED,
        EVENT_KIND_SCHEDULED,
        EVENT_KIND_DECIDED,
    ]
    with refused() as refusal:
        await reschedule(router, at + HOUR, idempotency_key="k")
    assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION
    assert refusal.metadata == {"state": "sent"}
    with refused() as refusal:
        await reschedule(router, at + HOUR, notification_id=str(uuid.uuid4()))
    assert refusal.code is grpc.StatusCode.NOT_FOUND


async def test_of_many_that_reschedule_at_once_one_time_stands_and_it_comes_once(
    router: Any, notify: Any
) -> None:
    due = stamp(datetime.now(UTC) + HOUR)
    sent = await send(router, notify(channels=["sms"], scheduled_at=due))
    at = datetime.now(UTC) + timedelta(seconds=2)
    answers = await asyncio.gather(
        *(
            reschedule(router, at + timedelta(milliseconds=n), notification_id=sent)
            for n in range(8)
        ),
        return_exceptions=True,
    )
    failed = [one for one in answers if isinstance(one, grpc.aio.AioRpcError)]
    assert not failed
    await router.until(lambda: router.jobs("work.sms.>"), 1, 8)
    events = await router.events()
    decided = [event for event in events if event.kind == EVENT_KIND_DECIDED]
    assert len(decided) == 1


async def test_a_scheduled_notification_is_cancelled_by_its_key(
    router: Any, notify: Any
) -> None:
    due = stamp(datetime.now(UTC) + HOUR)
    sent = await send(router, notify(scheduled_at=due, idempotency_key="order-7"))
    request = CancelNotificationRequest(idempotency_key="order-7")
    for _ in range(2):
        answer = await router.stub.CancelNotification(request)
        assert (answer.notification_id, answer.status) == (sent, "cancelled")
    with refused() as refusal:
        await reschedule(router, datetime.now(UTC), idempotency_key="order-7")
    assert refusal.metadata == {"state": "cancelled"}


@pytest.mark.parametrize(
    ("names", "field"),
    [
        ({}, "notification_id"),
        (
            {"notification_id": str(uuid.UUID(int=1)), "idempotency_key": "k"},
            "idempotency_key",
        ),
        ({"notification_id": "no-uuid"}, "notification_id"),
        ({"idempotency_key": "k" * 256}, "idempotency_key"),
    ],
    ids=["neither", "both", "no uuid", "too long"],
)
async def test_a_notification_is_named_in_exactly_one_way(
    router: Any, names: dict[str, str], field: str
) -> None:
    with refused() as refusal:
        await router.stub.CancelNotification(CancelNotificationRequest(**names))
    assert list(refusal.fields) == [field]
    with refused() as refusal:
        await reschedule(router, datetime.now(UTC), **names)
    assert list(refusal.fields) == [field]


async def test_a_key_names_what_was_sent_under_it_and_else_the_broadcast() -> None:
    keys = InMemoryIdempotencyKeys()
    naming = Naming(keys)
    sent, told = notification_id_for_key("demo", "k"), broadcast_id_for_key("demo", "k")
    assert (await naming.find("demo", "n", "")).notification_id == "n"
    assert (await naming.find("demo", "", "k")).notification_id == sent
    await keys.reserve([KeyedBody("demo", told, "body")])
    assert await naming.find("demo", "", "k") == Named(told, "k")
    assert (await naming.find("other", "", "k")).notification_id != told
    await keys.reserve([KeyedBody("demo", sent, "body")])
    assert await naming.find("demo", "", "k") == Named(sent, "k")
    keys.error = UnavailableError()
    assert (await naming.find("demo", "", "k")).notification_id == sent
