from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import pytest

from clarion.runtime.jetstream import (
    InMemoryRescheduler,
    InMemoryScheduler,
    JetStreamRescheduler,
    ScheduleGoneError,
)
from clarion.runtime.jetstream.rescheduler import MARGIN
from clarion.runtime.streams import due_subject, later_subject
from clarion.runtime.testing.waiting import wait_until

pytestmark = pytest.mark.integration

TARGET = due_subject("push", "high")
SUBJECT = later_subject("intake", "demo", "n-1")
HOUR = timedelta(hours=1)


@pytest.fixture(params=["in_memory", "jetstream"])
def ports(request, streams):
    if request.param == "in_memory":
        scheduler = InMemoryScheduler()
        return scheduler, InMemoryRescheduler(scheduler)
    return streams.scheduler, JetStreamRescheduler(streams)


async def schedule(scheduler, due, body=b"old", subject=SUBJECT) -> None:
    await scheduler.schedule(
        subject,
        target=TARGET,
        due=due,
        body=body,
        message_id=subject,
        headers={"traceparent": "00-a-b-01"},
    )


async def test_what_is_found_is_what_was_scheduled(ports):
    scheduler, rescheduler = ports
    due = datetime.now(UTC).replace(microsecond=123_000) + HOUR
    await schedule(scheduler, due)
    waiting = await rescheduler.find(SUBJECT)
    assert (waiting.due, waiting.body, waiting.target) == (due, b"old", TARGET)
    assert waiting.headers == {"traceparent": "00-a-b-01"}
    assert await rescheduler.find(f"{SUBJECT}-2") is None


async def test_a_replaced_one_is_found_as_it_is_now_and_keeps_its_headers(ports):
    scheduler, rescheduler = ports
    due = datetime.now(UTC).replace(microsecond=0) + HOUR
    await schedule(scheduler, due)
    before = await rescheduler.find(SUBJECT)
    sequence = await rescheduler.replace(before, due + HOUR, b"new")
    now = await rescheduler.find(SUBJECT)
    assert (now.sequence, now.due, now.body) == (sequence, due + HOUR, b"new")
    assert (now.target, now.headers) == (before.target, before.headers)
    assert await scheduler.cancel(SUBJECT) == 1


async def test_back_to_a_time_that_it_had_before_is_a_change_as_well(ports):
    scheduler, rescheduler = ports
    due = datetime.now(UTC).replace(microsecond=0) + HOUR
    await schedule(scheduler, due)
    for time in (due + HOUR, due, due + HOUR, due):
        await rescheduler.replace(await rescheduler.find(SUBJECT), time, b"x")
        assert (await rescheduler.find(SUBJECT)).due == time


async def test_what_was_cancelled_or_changed_meanwhile_is_left_alone(ports):
    scheduler, rescheduler = ports
    due = datetime.now(UTC) + HOUR
    await schedule(scheduler, due)
    waiting = await rescheduler.find(SUBJECT)
    await rescheduler.replace(waiting, due + HOUR, b"new")
    with pytest.raises(ScheduleGoneError):
        await rescheduler.replace(waiting, due + 2 * HOUR, b"other")
    waiting = await rescheduler.find(SUBJECT)
    await scheduler.cancel(SUBJECT)
    with pytest.raises(ScheduleGoneError):
        await rescheduler.replace(waiting, due + HOUR, b"new")
    assert await rescheduler.find(SUBJECT) is None


async def test_the_same_change_twice_is_one(streams):
    rescheduler = JetStreamRescheduler(streams)
    due = datetime.now(UTC) + HOUR
    await schedule(streams.scheduler, due)
    waiting = await rescheduler.find(SUBJECT)
    first = await rescheduler.replace(waiting, due + HOUR, b"new")
    assert await rescheduler.replace(waiting, due + HOUR, b"new") == first


async def test_a_time_in_the_past_fires_at_once(streams, consume):
    arrived = []

    async def handle(messages) -> None:
        arrived.extend(message.data for message in messages)

    await consume(handle)
    rescheduler = JetStreamRescheduler(streams)
    await schedule(streams.scheduler, datetime.now(UTC) + HOUR)
    waiting = await rescheduler.find(SUBJECT)
    await rescheduler.replace(waiting, datetime.now(UTC) - HOUR, b"new")
    await wait_until(lambda: arrived)
    assert arrived == [b"new"]


async def test_what_is_due_within_the_margin_counts_as_fired(streams):
    rescheduler = JetStreamRescheduler(streams)
    await schedule(streams.scheduler, datetime.now(UTC) + MARGIN / 2)
    waiting = await rescheduler.find(SUBJECT)
    with pytest.raises(ScheduleGoneError):
        await rescheduler.replace(waiting, datetime.now(UTC) + HOUR, b"new")


async def test_of_a_change_and_a_firing_exactly_one_wins_two_hundred_times(
    streams, consume
):
    fired: dict[bytes, list[bytes]] = defaultdict(list)

    async def handle(messages) -> None:
        for message in messages:
            name, _, version = message.data.partition(b" ")
            fired[name].append(version)

    await consume(handle)
    rescheduler = JetStreamRescheduler(streams)
    expected: dict[bytes, list[bytes]] = {}
    chance = random.Random(7)

    async def race(name: bytes) -> None:
        subject = later_subject("intake", "demo", name.decode())
        due = datetime.now(UTC) + timedelta(seconds=1.5)
        await schedule(streams.scheduler, due, name + b" old", subject)
        waiting = await rescheduler.find(subject)
        # From before the margin until the server is as late as it ever is.
        moment = due - MARGIN + timedelta(seconds=chance.uniform(-0.3, 1.3))
        await asyncio.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()))
        try:
            await rescheduler.replace(waiting, moment + MARGIN, name + b" new")
            expected[name] = [b"new"]
        except ScheduleGoneError:
            expected[name] = [b"old"]

    for run in range(4):
        await asyncio.gather(*(race(b"n-%d" % (50 * run + n)) for n in range(50)))
    await wait_until(lambda: len(fired) == 200, timeout=20)
    assert fired == expected
    assert len({tuple(versions) for versions in fired.values()}) == 2
