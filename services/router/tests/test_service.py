from __future__ import annotations

import asyncio
import os
import signal
import uuid
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

import grpc
import pytest

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_CANCELLED,
    EVENT_KIND_DECIDED,
    EVENT_KIND_SCHEDULED,
)
from clarion.api.router.v1.notification_service_pb2 import (
    BatchSendNotificationsRequest,
    CancelNotificationRequest,
    SendNotificationRequest,
)
from clarion.runtime.ids import notification_id_for_key
from clarion.runtime.testing import wait_until
from clarion.runtime.testing.grpc_harness import refusal_of


async def send(running: Any, notification: Any) -> Any:
    request = SendNotificationRequest(notification=notification)
    return await running.stub.SendNotification(request, timeout=20)


async def cancel(running: Any, notification_id: str) -> Any:
    request = CancelNotificationRequest(notification_id=notification_id)
    return (await running.stub.CancelNotification(request)).status


async def test_a_sent_notification_becomes_a_job_and_a_decision(
    router: Any, notify: Any
) -> None:
    notification = notify(
        channels=["push"],
        priority="high",
        message="World",
        data={"items": 20, "amount": 99.99},
    )
    accepted = await send(router, notification)
    jobs = await router.until(lambda: router.jobs("work.push.high"), 2, 5)
    assert {job.notification_id for job in jobs} == {accepted.notification_id}
    assert {job.target.device_id for job in jobs} == {"d1", "d2"}
    assert (jobs[0].content.title, jobs[0].content.body) == ("Hello", "World")
    assert dict(jobs[0].content.data) == {"items": 20.0, "amount": 99.99}
    (event,) = await router.until(router.events, 1, 5)
    assert event.kind == EVENT_KIND_DECIDED
    assert event.decided.notification == notification
    told = event.decided.decision.channels[0].deliveries
    assert [d.delivery_id for d in told] == [job.delivery_id for job in jobs]


async def test_a_batch_of_good_and_bad_ones_is_answered_one_by_one(
    router: Any, notify: Any
) -> None:
    good = [notify(channels=["email"], idempotency_key=f"k{n}") for n in range(300)]
    sent = [item for n in range(300) for item in (good[n], notify(channels=["fax"]))]
    response = await router.stub.BatchSendNotifications(
        BatchSendNotificationsRequest(notifications=sent)
    )
    assert (response.accepted, response.rejected) == (300, 300)
    assert [result.index for result in response.results] == list(range(600))
    ids = {r.notification.notification_id for r in response.results[::2]}
    assert ids == {notification_id_for_key(router.tenant, f"k{n}") for n in range(300)}
    jobs = await router.until(lambda: router.jobs("work.email.medium"), 300, 10)
    assert {job.notification_id for job in jobs} == ids


async def test_a_repeated_send_is_one_notification(router: Any, notify: Any) -> None:
    keyed = notify(channels=["sms"], idempotency_key="k")
    answers = await asyncio.gather(*(send(router, keyed) for _ in range(10)))
    answers.append(await send(router, keyed))
    assert {a.notification_id for a in answers} == {
        notification_id_for_key(router.tenant, "k")
    }
    await send(router, notify(channels=["sms"], idempotency_key="last"))
    last = notification_id_for_key(router.tenant, "last")

    async def is_through() -> Any:
        return [j for j in await router.jobs("work.sms.>") if j.notification_id == last]

    await router.until(is_through, 1, 5)
    ids = {job.delivery_id for job in await router.jobs("work.sms.>")}
    assert len(ids) == 2


async def test_of_fifty_twins_all_get_one_notification_and_other_bodies_a_conflict(
    router: Any, notify: Any
) -> None:
    twin = notify(channels=["sms"], idempotency_key="twins")
    other = notify(channels=["sms"], idempotency_key="twins", title="Other")
    first = await send(router, twin)
    twins = [send(router, twin) for _ in range(50)]
    others = [refusal_of(send(router, other)) for _ in range(50)]
    answers = await asyncio.gather(*twins)
    assert {answer.notification_id for answer in answers} == {first.notification_id}
    for refusal in await asyncio.gather(*others):
        assert refusal.code is grpc.StatusCode.ALREADY_EXISTS
        assert refusal.reason == "IDEMPOTENCY_KEY_REUSED"
        assert list(refusal.fields) == ["idempotency_key"]
    fresh = notify(channels=["sms"], idempotency_key="at once")
    at_once = await asyncio.gather(*(send(router, fresh) for _ in range(50)))
    assert len({answer.notification_id for answer in at_once}) == 1
    last = await send(router, notify(channels=["sms"]))

    async def is_through() -> Any:
        jobs = await router.jobs("work.sms.>")
        return [job for job in jobs if job.notification_id == last.notification_id]

    await router.until(is_through, 1, 10)
    jobs = await router.jobs("work.sms.>")
    assert len({job.delivery_id for job in jobs}) == 3
    # The one that was stored before its twins came was not stored again.
    assert [j.notification_id for j in jobs].count(first.notification_id) == 1


async def test_what_is_scheduled_is_decided_when_it_is_due(
    router: Any, notify: Any, neighbours: Any, person: Any
) -> None:
    due = datetime.now(UTC) + timedelta(seconds=1.2)
    later = notify(channels=["push"], scheduled_at=due)
    accepted = await send(router, later)
    assert accepted.status == "scheduled"
    neighbours.people["ada"] = person(push_enabled=False)  # a change of mind till then

    async def decided() -> Any:
        return [e for e in await router.events() if e.kind == EVENT_KIND_DECIDED]

    (event,) = await router.until(decided, 1, 5)
    assert event.occurred_time.ToDatetime(UTC) >= due
    assert event.decided.decision.channels[0].reason == "channel_disabled"
    assert [e.kind for e in await router.events()] == [
        EVENT_KIND_SCHEDULED,
        EVENT_KIND_DECIDED,
    ]


async def test_a_cancelled_one_never_fires(router: Any, notify: Any) -> None:
    due = datetime.now(UTC) + timedelta(seconds=1.2)
    gone = await send(router, notify(channels=["push"], scheduled_at=due))
    kept = await send(
        router,
        notify(channels=["push"], scheduled_at=due + timedelta(milliseconds=500)),
    )
    assert await cancel(router, gone.notification_id) == "cancelled"
    assert await cancel(router, gone.notification_id) == "cancelled"
    jobs = await router.until(router.jobs, 2, 5)  # of the one that is due after it
    assert {job.notification_id for job in jobs} == {kept.notification_id}
    (told,) = [e for e in await router.events() if e.kind == EVENT_KIND_CANCELLED]
    assert told.notification_id == gone.notification_id


async def test_a_cancel_of_what_is_not_scheduled_is_under_way(router: Any) -> None:
    assert await cancel(router, str(uuid.uuid4())) == "cancelling"


async def test_a_neighbour_that_is_down_for_three_seconds_costs_nothing(
    start: Any, notify: Any, neighbour_server: Any, own_nats: Any
) -> None:
    async with start(nats_url=own_nats.url) as router:
        await neighbour_server.stop()
        sends = [send(router, notify(channels=["push"])) for _ in range(40)]
        accepted = await asyncio.gather(*sends)  # accepting needs no neighbour
        down_until = perf_counter() + 3
        await wait_until(lambda: perf_counter() > down_until)
        assert router.harness.health.serving
        assert not await router.jobs()
        await neighbour_server.start()
        jobs = await router.until(router.jobs, 80, 15)
        assert len({job.delivery_id for job in jobs}) == len(jobs) == 80
        assert {j.notification_id for j in jobs} == {
            a.notification_id for a in accepted
        }

        async def acked() -> Any:
            info = await router.consumer("intake-medium")
            return [1] if info["num_ack_pending"] == 0 else []

        await router.until(acked, 1, 5)
        info = await router.consumer("intake-medium")
        assert info["num_redelivered"] == 0
        assert info["delivered"]["consumer_seq"] == info["delivered"]["stream_seq"]


async def test_what_a_stopped_router_held_is_routed_by_the_next(
    start: Any, notify: Any, neighbour_server: Any, own_nats: Any
) -> None:
    await neighbour_server.stop()
    async with start(nats_url=own_nats.url) as first:
        sends = [send(first, notify(channels=["push"])) for _ in range(20)]
        accepted = {a.notification_id for a in await asyncio.gather(*sends)}
    await neighbour_server.start()
    async with start(nats_url=own_nats.url) as second:
        second.tenant = first.tenant
        jobs = await second.until(second.jobs, 40, 10)
        assert {job.notification_id for job in jobs} == accepted
        assert len({job.delivery_id for job in jobs}) == 40


async def test_nats_killed_in_a_stream_of_sends_loses_no_accepted_one(
    start: Any, notify: Any, own_nats: Any
) -> None:
    accepted: list[str] = []

    async def sender(number: int) -> None:
        for n in range(40):
            key = f"{number}-{n}"
            keyed = notify(channels=["email"], idempotency_key=key)
            accepted.append((await send(router, keyed)).notification_id)

    async with start(nats_url=own_nats.url) as router:
        senders = [asyncio.create_task(sender(number)) for number in range(5)]
        await wait_until(lambda: len(accepted) >= 50)
        await own_nats.kill()
        await own_nats.start()
        await asyncio.wait_for(asyncio.gather(*senders), 20)
        assert len(set(accepted)) == 200

        async def arrived() -> Any:
            return {job.notification_id for job in await router.jobs("work.email.>")}

        assert await router.until(arrived, 200, 15) == set(accepted)


async def test_one_that_cannot_be_routed_does_not_hold_up_its_batch(
    router: Any, notify: Any, neighbours: Any
) -> None:
    neighbours.refused.add("bad")
    sent = [notify(channels=["email"]) for _ in range(20)]
    sent.insert(7, notify(channels=["email"], user_id="bad"))
    request = BatchSendNotificationsRequest(notifications=sent)
    assert (await router.stub.BatchSendNotifications(request)).accepted == 21
    jobs = await router.until(lambda: router.jobs("work.email.>"), 20, 5)
    assert len({job.notification_id for job in jobs}) == 20


@pytest.mark.parametrize("how", ["never there", "stopped", "hanging"])
async def test_accepting_goes_on_quickly_without_valkey(
    how: str, start: Any, notify: Any, own_valkey: Any
) -> None:
    if how == "never there":
        await own_valkey.stop()
    async with start(redis_url=own_valkey.url) as router:
        await send(router, notify(channels=["push"], idempotency_key="before"))
        pid = own_valkey.pid
        if how == "hanging":
            os.kill(pid, signal.SIGSTOP)
        else:
            await own_valkey.stop()
        try:
            took = []
            for n in range(10):
                begin = perf_counter()
                await send(router, notify(channels=["push"], idempotency_key=f"k{n}"))
                took.append(perf_counter() - begin)
        finally:
            if how == "hanging":
                os.kill(pid, signal.SIGCONT)
        # With the client's own patience each would take two seconds and more.
        assert max(took) < 1
        assert sorted(took)[5] < 0.1
        await router.service.health.look()
        assert router.harness.health.serving
        jobs = await router.until(router.jobs, 22, 5)
        assert len({job.notification_id for job in jobs}) == 11
