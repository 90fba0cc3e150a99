from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from clarion.runtime.errors import UnavailableError
from clarion.runtime.jetstream import declaration
from clarion.runtime.jetstream.declaration import declare_streams
from clarion.runtime.streams import (
    FLOWS,
    INTAKE,
    QUEUES,
    STAGES,
    due_subject,
    durable_name,
    later_subject,
)
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

    others = len(STAGES) - 1
    async with asyncio.timeout(10):
        while sum([await pending(queue) for queue in QUEUES]) < others:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        while not await _waiting(streams, "intake-low"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await pending("INTAKE") == 0


async def _waiting(streams, durable: str) -> int:
    info = await streams.js.request(f"CONSUMER.INFO.SCHED.{durable}")
    return int(info["num_pending"])


async def test_what_fires_while_the_streams_are_declared_anew_comes(streams, consume):
    # As they were before routers read SCHED: INTAKE took over what fired.
    for flow in FLOWS:
        name = durable_name(INTAKE, flow)
        await streams.js.request(f"CONSUMER.DELETE.SCHED.{name}")
    config = (await streams.js.request("STREAM.INFO.INTAKE"))["config"]
    moved = {"src": "due.intake.>", "dest": "work.intake.>"}
    config["sources"] = [{"name": "SCHED", "subject_transforms": [moved]}]
    await streams.js.request("STREAM.UPDATE.INTAKE", config)
    seen = []

    async def handle(messages) -> None:
        seen.extend(message.data for message in messages)

    bodies = [b"%d" % number for number in range(200)]
    start = datetime.now(UTC)
    for number, body in enumerate(bodies):
        await streams.scheduler.schedule(
            later_subject("intake", "demo", body.decode()),
            target=due_subject(INTAKE, "high"),
            due=start + timedelta(milliseconds=10 * number),
            body=body,
            message_id=body.decode(),
        )
    await declare_streams(streams.js, 1)
    await consume(handle, stream="INTAKE", durable="intake-high")
    await consume(handle, stream="SCHED", durable="intake-high")
    await wait_until(lambda: {*seen} == {*bodies})
    config = (await streams.js.request("STREAM.INFO.INTAKE"))["config"]
    assert not config.get("sources")


async def test_a_queue_that_is_full_is_not_cut_off_from_what_fired(
    streams, monkeypatch
):
    monkeypatch.setattr(declaration, "_TAKE_OVER_SECONDS", 0.3)
    config = (await streams.js.request("STREAM.INFO.INTAKE"))["config"]
    moved = {"src": "due.intake.>", "dest": "work.intake.>"}
    config["sources"] = [{"name": "SCHED", "subject_transforms": [moved]}]
    await streams.js.request("STREAM.UPDATE.INTAKE", config | {"max_bytes": 300})
    for number in range(30):
        await streams.scheduler.schedule(
            later_subject("intake", "demo", f"{number}"),
            target=due_subject(INTAKE, "high"),
            due=datetime.now(UTC),
            body=b"x" * 50,
            message_id=f"{number}",
        )
    async with asyncio.timeout(10):
        while not await _lag(streams):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    with pytest.raises(UnavailableError, match="has not taken over"):
        await declare_streams(streams.js, 1)


async def _lag(streams) -> int:
    info = await streams.js.request("STREAM.INFO.INTAKE")
    return sum(source["lag"] for source in info["sources"])


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
