from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.runtime.delivery import LaneQueue, LaneWorkers, Outcome
from clarion.runtime.delivery.in_memory import make_job
from clarion.runtime.delivery.lane_workers import Deliver
from clarion.runtime.testing import wait_until


class Wire:
    """Connections that send when they are let."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.open = 0
        self.most_open = 0
        self.gate = asyncio.Event()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Deliver]:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            yield self.deliver
        finally:
            self.open -= 1

    async def deliver(self, job: DeliveryJob) -> Outcome:
        self.sent.append(job.target.address)
        await self.gate.wait()
        return Outcome.sent(job.target.address)


@pytest.fixture
async def wire() -> Wire:
    return Wire()


@pytest.fixture
async def workers(wire: Wire) -> AsyncIterator[Callable[[int], LaneWorkers]]:
    made: list[LaneWorkers] = []

    def make(most: int) -> LaneWorkers:
        made.append(LaneWorkers("probe connection", most, wire.connection))
        return made[-1]

    yield make
    for each in made:
        await each.close()


def nothing(job: DeliveryJob, outcome: Outcome) -> None:
    pass


def jobs(*lanes: str) -> list[DeliveryJob]:
    return [make_job(f"{lane}-{n}", priority=lane) for n, lane in enumerate(lanes)]


@pytest.mark.parametrize(
    ("otherwise", "expected"), [("low", "hmlu"), ("medium", "hmul")]
)
def test_a_queue_gives_the_high_lane_first_and_each_in_order(otherwise, expected):
    queue: LaneQueue[str] = LaneQueue(otherwise=otherwise)
    for lane in ("medium", "low", "unheard", "high"):
        queue.put(lane, lane[0])

    taken = [queue.take() for _ in range(5)]

    assert taken == [*expected, None]


async def test_a_free_connection_takes_the_highest_lane_of_any_call(wire, workers):
    pool = workers(1)
    first = asyncio.ensure_future(pool.send(jobs("low", "low"), nothing))
    await wait_until(lambda: wire.sent)
    second = asyncio.ensure_future(pool.send(jobs("medium", "high"), nothing))
    await asyncio.sleep(0)
    wire.gate.set()
    await asyncio.gather(first, second)

    assert wire.sent == ["low-0", "high-1", "medium-0", "low-1"]


async def test_connections_open_as_they_are_needed_up_to_the_limit(wire, workers):
    pool = workers(3)
    wire.gate.set()
    await pool.send(jobs("high"), nothing)
    assert wire.most_open == 1

    await pool.send(jobs(*["high"] * 10), nothing)

    assert wire.most_open == 3


async def test_every_job_is_settled_once_with_its_own_outcome(wire, workers):
    settled: list[tuple[str, str]] = []
    wire.gate.set()

    await workers(2).send(
        jobs("high", "low", "high"),
        lambda job, outcome: settled.append(
            (job.target.address, outcome.provider_message_id)
        ),
    )

    assert sorted(settled) == [(n, n) for n in ("high-0", "high-2", "low-1")]


async def test_a_call_without_jobs_returns_and_opens_nothing(wire, workers):
    await workers(2).send([], nothing)

    assert wire.most_open == 0


async def test_the_waiting_jobs_of_a_cancelled_call_are_not_sent(wire, workers):
    pool = workers(1)
    cancelled = asyncio.ensure_future(pool.send(jobs("high", "high", "high"), nothing))
    await wait_until(lambda: wire.sent)
    cancelled.cancel()
    kept = asyncio.ensure_future(pool.send(jobs("low"), nothing))
    wire.gate.set()
    await kept

    assert wire.sent == ["high-0", "low-0"]


async def test_closing_ends_what_is_under_way_and_leaves_the_connections(wire, workers):
    pool = workers(2)
    call = asyncio.ensure_future(pool.send(jobs("high", "high"), nothing))
    await wait_until(lambda: wire.open == 2)

    await pool.close()

    assert wire.open == 0
    call.cancel()
