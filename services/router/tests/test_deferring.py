from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_CANCELLED,
    EVENT_KIND_DECIDED,
    EVENT_KIND_DEFERRED,
)
from clarion.api.recipients.v1.recipient_pb2 import QuietHours
from clarion.api.router.v1.notification_service_pb2 import (
    CancelNotificationRequest,
    SendNotificationRequest,
)
from clarion.api.router.v1.notification_type_service_pb2 import (
    PutNotificationTypeRequest,
)
from clarion.api.router.v1.notification_type_service_pb2_grpc import (
    NotificationTypeServiceStub,
)


def quiet_for(seconds: float) -> tuple[QuietHours, datetime]:
    """Quiet hours, finer than the contract allows them, and their end."""
    now = datetime.now(UTC)
    end = (now + timedelta(seconds=seconds)).replace(microsecond=0)
    start = now - timedelta(hours=1)
    return QuietHours(
        start=start.strftime("%H:%M"), end=end.strftime("%H:%M:%S"), timezone="UTC"
    ), end


async def send(running: Any, notification: Any) -> str:
    request = SendNotificationRequest(notification=notification)
    answer = await running.stub.SendNotification(request, timeout=20)
    return str(answer.notification_id)


async def told(running: Any, kind: int, count: int = 1) -> list[Any]:
    async def found() -> list[Any]:
        return [event for event in await running.events() if event.kind == kind]

    events: list[Any] = await running.until(found, count, 6)
    return events


async def test_what_is_deferred_is_released_when_the_quiet_hours_end(
    router: Any, notify: Any, neighbours: Any, person: Any
) -> None:
    hours, end = quiet_for(3)
    neighbours.people["ada"] = person(quiet_hours=hours)
    id = await send(router, notify(channels=["push", "in_app"]))
    (inbox,) = await router.until(lambda: router.jobs("work.in_app.>"), 1, 5)
    assert inbox.notification_id == id
    (deferred,) = await told(router, EVENT_KIND_DEFERRED)
    assert deferred.postponed.due_time.ToDatetime(UTC) == end
    assert not await router.jobs()
    first, second = await told(router, EVENT_KIND_DECIDED, 2)
    assert [c.outcome for c in first.decided.decision.channels] == [
        "deferred",
        "planned",
    ]
    (channel,) = second.decided.decision.channels
    assert (channel.channel, channel.outcome) == ("push", "planned")
    late = second.occurred_time.ToDatetime(UTC) - end
    assert timedelta(0) <= late < timedelta(seconds=1)
    assert len(await router.jobs()) == 2
    assert len(await router.jobs("work.in_app.>")) == 1


async def test_preferences_are_read_again_at_the_release(
    router: Any, notify: Any, neighbours: Any, person: Any
) -> None:
    hours, _ = quiet_for(2)
    neighbours.people["ada"] = person(quiet_hours=hours)
    await send(router, notify(channels=["push", "email", "sms"]))
    await told(router, EVENT_KIND_DEFERRED)
    changed = person(push_enabled=False)
    changed.suppressions.add(channel="sms", address="+14155550123", reason="stop")
    neighbours.people["ada"] = changed
    _, second = await told(router, EVENT_KIND_DECIDED, 2)
    assert [
        (c.channel, c.outcome, c.reason) for c in second.decided.decision.channels
    ] == [
        ("push", "skipped", "channel_disabled"),
        ("email", "planned", ""),
        ("sms", "suppressed", "stop"),
    ]


async def test_a_deferred_one_that_is_cancelled_is_never_released(
    router: Any, notify: Any, neighbours: Any, person: Any
) -> None:
    hours, _ = quiet_for(2)
    neighbours.people["ada"] = person(quiet_hours=hours)
    gone = await send(router, notify(channels=["push"]))
    kept = await send(router, notify(channels=["push"]))
    await told(router, EVENT_KIND_DEFERRED, 2)
    request = CancelNotificationRequest(notification_id=gone)
    for _ in range(2):
        answer = await router.stub.CancelNotification(request)
        assert answer.status == "cancelled"
    await told(router, EVENT_KIND_DECIDED, 3)
    assert {job.notification_id for job in await router.jobs()} == {kept}
    (event,) = await told(router, EVENT_KIND_CANCELLED)
    assert event.notification_id == gone


async def test_what_a_router_deferred_is_released_to_the_next_one(
    start: Any, notify: Any, neighbours: Any, person: Any, own_nats: Any
) -> None:
    hours, end = quiet_for(3)
    neighbours.people["ada"] = person(quiet_hours=hours)
    async with start(nats_url=own_nats.url) as first:
        ids = {await send(first, notify(channels=["sms"])) for _ in range(20)}
        await told(first, EVENT_KIND_DEFERRED, 20)
    await own_nats.kill()  # nobody is there when it is due
    await own_nats.start()
    async with start(nats_url=own_nats.url) as second:
        second.tenant = first.tenant
        jobs = await second.until(lambda: second.jobs("work.sms.>"), 20, 10)
        assert datetime.now(UTC) >= end
        assert {job.notification_id for job in jobs} == ids
        assert len({job.delivery_id for job in jobs}) == len(jobs) == 20


async def test_what_waits_for_a_limit_is_asked_about_again_when_there_is_room(
    router: Any, notify: Any, neighbours: Any
) -> None:
    patient = PutNotificationTypeRequest(type="digest")
    patient.notification_type.over_limit_policy = "defer"
    channel = router.harness.internal(router.tenant)
    await NotificationTypeServiceStub(channel).PutNotificationType(patient)
    neighbours.limited["digest"] = "daily"
    free = neighbours.available = datetime.now(UTC) + timedelta(seconds=2)
    id = await send(router, notify(type="digest", channels=["email"]))
    (deferred,) = await told(router, EVENT_KIND_DEFERRED)
    assert deferred.reason == "daily_limit"
    assert deferred.postponed.due_time.ToDatetime(UTC) >= free
    neighbours.limited.clear()
    (job,) = await router.until(lambda: router.jobs("work.email.>"), 1, 5)
    assert datetime.now(UTC) >= free
    assert job.notification_id == id
    assert set(neighbours.permits) == {id}
