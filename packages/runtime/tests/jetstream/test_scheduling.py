from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from clarion.runtime.streams import QUEUES, STAGES, due_subject, later_subject
from clarion.runtime.testing.waiting import wait_until

TARGET = due_subject("push", "high")
SUBJECT = later_subject("send", "demo", "n-1")
SOON = timedelta(milliseconds=400)

pytestmark = pytest.mark.integration


@pytest.fixture
async def arrived(consume):
    bodies = []

    async def handle(messages) -> None:
        bodies.extend(message.data for message in messages)

    await consume(handle)
    return bodies


async def schedule(streams, body=b"x", *, due=None, subject=SUBJECT, headers=None):
    await streams.scheduler.schedule(
        subject,
        target=TARGET,
        due=due or datetime.now(UTC) + SOON,
        body=body,
        message_id="n-1",
        headers=headers,
    )


async def test_a_schedule_fires_into_the_work_queue_and_not_before_its_time(
    streams, consume
):
    seen = []

    async def handle(messages) -> None:
        seen.extend(messages)

    await consume(handle)
    due = datetime.now(UTC) + timedelta(seconds=1)
    await schedule(streams, b"hello", due=due, headers={"traceparent": "00-a-b-01"})
    await wait_until(lambda: seen)

    assert seen[0].data == b"hello"
    assert seen[0].subject == "work.push.high"
    assert seen[0].stored_time >= due - timedelta(milliseconds=1)
    assert seen[0].headers["traceparent"] == "00-a-b-01"


async def test_each_stage_gets_its_due_messages(streams, pending):
    for stage in STAGES:
        await streams.scheduler.schedule(
            later_subject("send", "demo", stage),
            target=due_subject(stage, "low"),
            due=datetime.now(UTC),
            body=b"x",
            message_id=stage,
        )

    async with asyncio.timeout(10):
        while sum([await pending(queue) for queue in QUEUES]) < len(STAGES):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await pending("INTAKE") == 1


async def test_a_due_time_in_the_past_and_in_another_zone_fires_at_once(
    streams, arrived
):
    zone = timezone(timedelta(hours=5, minutes=30))
    await schedule(streams, due=datetime.now(zone) - timedelta(seconds=1))

    await wait_until(lambda: arrived)


async def test_cancelling_prevents_the_firing_and_tells_how_many_there_were(
    streams, arrived
):
    due = datetime.now(UTC) + SOON
    await schedule(streams, b"cancelled", due=due)
    await schedule(streams, b"kept", due=due, subject=SUBJECT.replace("n-1", "n-2"))

    assert await streams.scheduler.cancel(SUBJECT) == 1
    assert await streams.scheduler.cancel(SUBJECT) == 0
    await wait_until(lambda: arrived)
    assert arrived == [b"kept"]


async def test_all_schedules_of_a_tenant_are_cancelled_by_a_wildcard(streams, pending):
    due = datetime.now(UTC) + timedelta(hours=1)
    for id in ("a", "b", "c.d"):
        await schedule(streams, due=due, subject=later_subject("send", "demo", id))
    await schedule(streams, due=due, subject=later_subject("send", "other", "a"))

    assert await streams.scheduler.cancel(later_subject("send", "demo", "*")) == 3
    assert await pending("SCHED") == 1


async def test_scheduling_the_same_again_keeps_one(streams, pending):
    due = datetime.now(UTC) + timedelta(hours=1)
    await schedule(streams, due=due)
    await schedule(streams, due=due)

    assert await pending("SCHED") == 1


async def test_rescheduling_replaces_the_time_and_the_body(streams, arrived):
    await schedule(streams, b"old", due=datetime.now(UTC) + timedelta(hours=1))
    await schedule(streams, b"new")
    await wait_until(lambda: arrived)

    assert arrived == [b"new"]


async def test_what_was_cancelled_can_be_scheduled_again_unchanged(streams, arrived):
    due = datetime.now(UTC) + timedelta(seconds=1)
    await schedule(streams, due=due)
    await streams.scheduler.cancel(SUBJECT)
    await schedule(streams, due=due)
    await wait_until(lambda: arrived)

    assert arrived == [b"x"]


async def test_a_schedule_survives_a_killed_server(streams, nats, arrived):
    await schedule(streams)
    nats.kill()
    nats.start()
    await wait_until(lambda: arrived)

    assert arrived == [b"x"]
