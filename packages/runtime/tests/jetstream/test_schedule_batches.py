from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from clarion.runtime.jetstream.atomic_batch import BatchError, publish_batch
from clarion.runtime.streams import due_subject, later_subject
from clarion.runtime.testing.waiting import wait_until

TARGET = due_subject("push", "high")

pytestmark = pytest.mark.integration


@pytest.fixture
async def arrived(consume):
    bodies = []

    async def handle(messages) -> None:
        bodies.extend(message.data for message in messages)

    await consume(handle)
    return bodies


def subject(number: int) -> str:
    return later_subject("send", "demo", str(number))


async def schedule(streams, number: int, due: datetime, body: bytes = b"") -> None:
    await streams.scheduler.schedule(
        subject(number),
        target=TARGET,
        due=due,
        body=body or str(number).encode(),
        message_id=f"n-{number}",
    )


async def waiting(streams) -> int:
    ask = {"subjects_filter": "later.>"}
    info = await streams.js.request("STREAM.INFO.SCHED", ask)
    return len(info["state"].get("subjects") or {})


async def test_schedules_made_at_once_all_fire_once(streams, arrived):
    due = datetime.now(UTC) + timedelta(seconds=2)
    await asyncio.gather(*(schedule(streams, n, due) for n in range(1200)))
    await wait_until(lambda: len(arrived) >= 1200, timeout=20)
    assert sorted(arrived) == sorted(str(n).encode() for n in range(1200))


async def test_they_share_batches(streams):
    due = datetime.now(UTC) + timedelta(hours=1)
    before = (await streams.js.request("STREAM.INFO.SCHED"))["state"]["last_seq"]
    written = [
        (
            subject(n),
            b"x",
            {
                "Nats-Schedule": f"@at {due.isoformat().replace('+00:00', 'Z')}",
                "Nats-Schedule-Target": TARGET,
                "Nats-Msg-Id": f"id-{n}",
            },
        )
        for n in range(500)
    ]
    await publish_batch(streams, written)
    after = (await streams.js.request("STREAM.INFO.SCHED"))["state"]["last_seq"]
    assert after - before == 500
    with pytest.raises(BatchError):
        await publish_batch(streams, written[:2])
    assert await waiting(streams) == 500


async def test_one_that_was_stored_before_does_not_hold_up_the_others(streams):
    due = datetime.now(UTC) + timedelta(hours=1)
    await schedule(streams, 7, due)
    await asyncio.gather(*(schedule(streams, n, due) for n in range(20)))
    await asyncio.gather(*(schedule(streams, n, due) for n in range(20)))
    assert await waiting(streams) == 20


async def test_of_two_for_one_subject_the_later_one_stands(streams):
    due = datetime.now(UTC) + timedelta(hours=1)
    await asyncio.gather(
        *(schedule(streams, n % 10, due, b"%d" % n) for n in range(20))
    )
    assert await waiting(streams) == 10


async def test_a_server_killed_meanwhile_loses_none_that_was_answered(streams, nats):
    due = datetime.now(UTC) + timedelta(hours=1)
    writes = asyncio.gather(*(schedule(streams, n, due) for n in range(3000)))
    await asyncio.sleep(0)
    nats.kill()
    nats.start()
    await asyncio.wait_for(writes, 40)
    assert await waiting(streams) == 3000


async def test_a_stream_that_takes_no_batches_takes_each_by_itself(streams):
    info = await streams.js.request("STREAM.INFO.SCHED")
    config = info["config"] | {"allow_atomic": False}
    await streams.js.request("STREAM.UPDATE.SCHED", config)
    due = datetime.now(UTC) + timedelta(hours=1)
    await asyncio.gather(*(schedule(streams, n, due) for n in range(50)))
    assert await waiting(streams) == 50


async def test_who_stops_waiting_leaves_the_others_theirs(streams):
    due = datetime.now(UTC) + timedelta(hours=1)
    tasks = [asyncio.create_task(schedule(streams, n, due)) for n in range(10)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert done[1:] == [None] * 9
