from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from clarion.api.event.v1.work_pb2 import DeliveryChunk, DeliveryJob
from clarion.runtime.delivery.attempts import RetryPolicy, Verdict
from clarion.runtime.delivery.claims import Claim, ClaimState
from clarion.runtime.delivery.entry import Entry
from clarion.runtime.delivery.in_memory import ScriptedProvider, make_job
from clarion.runtime.delivery.line import Line
from clarion.runtime.delivery.outcome import Outcome
from clarion.runtime.delivery.turns import LONGEST_LOOK, is_over, look_later, wait_for
from clarion.runtime.jetstream import InMemoryScheduler
from clarion.runtime.keys import cancelled_key, order_key, turn_key

ORDER = order_key("demo", "ada", "order_shipped")
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("waits", "ahead", "seconds"),
    [
        (0, 1, 0.05),
        (1, 1, 0.1),
        (5, 1, 1.6),
        (0, 20, 1.0),
        (10, 1, 30.0),
        (0, 10**9, 30.0),
        (10**9, 1, 30.0),
        (0, 0, 0.05),
    ],
)
def test_one_that_is_held_back_looks_more_rarely_the_longer_it_waits(
    waits: int, ahead: int, seconds: float
) -> None:
    assert wait_for(waits, ahead) == timedelta(seconds=seconds)
    assert wait_for(waits, ahead) <= LONGEST_LOOK


def held_back(ahead: int, **fields: Any) -> Entry:
    entry = Entry(make_job(ordered=True, **fields), "w", "high")
    entry.claim, entry.at = Claim(ClaimState.HELD_BACK, ahead=ahead), NOW
    return entry


async def looked(entry: Entry) -> tuple[timedelta, DeliveryJob]:
    scheduler = InMemoryScheduler()
    await look_later(scheduler, "push", entry)
    (stored,) = scheduler.scheduled.values()
    assert stored.target == "due.push.high"
    (job,) = DeliveryChunk.FromString(stored.body).jobs
    return stored.due - NOW, job


async def test_a_look_is_no_attempt_and_begins_anew_when_somebody_made_room() -> None:
    wait, job = await looked(held_back(3, order_waits=4, order_ahead=3))
    assert (job.order_waits, job.order_ahead, job.attempt) == (5, 3, 1)
    assert wait == timedelta(milliseconds=50) * 3 * 16
    wait, job = await looked(held_back(2, order_waits=4, order_ahead=3))
    assert (job.order_waits, job.order_ahead) == (1, 2)
    assert wait == timedelta(milliseconds=100)


async def test_it_comes_back_in_time_to_be_told_as_expired() -> None:
    entry = held_back(1, order_waits=20)
    entry.job.expires_time.FromDatetime(NOW + timedelta(seconds=2))
    wait, _ = await looked(entry)
    assert wait == timedelta(seconds=2)


@pytest.mark.parametrize("state", list(ClaimState))
def test_what_is_over_without_an_attempt(state: ClaimState) -> None:
    entry = held_back(1)
    entry.claim = Claim(state)
    over = {"D", "X", "S", "N", "E"}
    if state.value not in "CT":
        assert is_over(entry) is (state.value in over)


@pytest.mark.parametrize(
    ("verdict", "over"),
    [(Verdict.DONE, True), (Verdict.EXHAUSTED, True), (Verdict.AGAIN, False)],
)
def test_what_is_over_after_an_attempt(verdict: Verdict, over: bool) -> None:
    entry = held_back(1)
    entry.claim, entry.outcome = Claim(ClaimState.CLAIMED), Outcome.sent("m")
    entry.verdict = verdict
    assert is_over(entry) is over


async def take_places(redis: Redis, *jobs: DeliveryJob) -> None:
    at = int(datetime.now(UTC).timestamp() * 1e6)
    for place, job in enumerate(jobs):
        await redis.zadd(ORDER, {job.notification_id: at + place})
        await redis.hset(turn_key("demo", job.notification_id), job.delivery_id, "p0")


def titles(provider: ScriptedProvider) -> list[str]:
    return [job.content.title for job in provider.sent]


def parcel(title: str) -> DeliveryJob:
    job = make_job(ordered=True)
    job.content.title = title
    return job


@pytest.mark.integration
async def test_a_later_one_waits_through_all_attempts_of_the_earlier_one(
    mesh: Any, redis: Redis
) -> None:
    shipped, delivered = parcel("shipped"), parcel("delivered")
    await take_places(redis, shipped, delivered)

    def script(job: DeliveryJob) -> Outcome:
        is_early = job.content.title == "shipped" and job.attempt < 3
        return Outcome.retry("busy") if is_early else Outcome.sent("m")

    provider = ScriptedProvider(script=script)
    policy = RetryPolicy(waits=(timedelta(milliseconds=200),) * 3)
    await mesh.worker(provider, policy=policy)
    await mesh.publish(delivered, shipped)
    await mesh.until("SENT", "SENT")
    assert titles(provider) == ["shipped"] * 3 + ["delivered"]
    assert provider.sent[-1].attempt == 1
    assert await redis.zcard(ORDER) == 0


@pytest.mark.integration
async def test_a_burst_to_one_person_goes_out_without_looking_later(
    mesh: Any, redis: Redis
) -> None:
    burst = [parcel(f"{number}") for number in range(40)]
    await take_places(redis, *burst)
    provider = ScriptedProvider(script=lambda job: Outcome.sent("m"))
    await mesh.worker(provider)
    # In one message, and the last one first.
    await mesh.publish(*reversed(burst))
    await mesh.until(*["SENT"] * 40)
    assert titles(provider) == [job.content.title for job in burst]
    assert all(job.order_waits == 0 for job in provider.sent)
    assert await redis.zcard(ORDER) == 0


@pytest.mark.integration
async def test_the_messages_of_a_burst_hear_of_each_other(
    mesh: Any, redis: Redis
) -> None:
    burst = [parcel(f"{number}") for number in range(30)]
    await take_places(redis, *burst)
    provider = ScriptedProvider(script=lambda job: Outcome.sent("m"))
    for job in reversed(burst):
        await mesh.publish(job)
    await mesh.worker(provider)
    await mesh.until(*["SENT"] * 30)
    assert titles(provider) == [job.content.title for job in burst]
    assert all(job.order_waits == 0 for job in provider.sent)


async def test_a_place_hears_of_its_own_line_only() -> None:
    line = Line()
    first, other = held_back(2), held_back(1, user_id="bob")
    with line.places([first]) as places:
        line.is_over(other.job)
        line.is_over(first.job)
        await places.wait(0.01)
        assert (places.ahead, places.may_go) == (1, False)
        line.is_over(first.job)
        await places.wait(60)
        assert places.may_go
    line.is_over(first.job)


@pytest.mark.integration
@pytest.mark.parametrize("end", ["dead_lettered", "failed", "cancelled", "expired"])
async def test_however_the_earlier_one_ends_it_makes_room(
    mesh: Any, redis: Redis, end: str
) -> None:
    first, second = parcel("first"), parcel("second")
    await take_places(redis, first, second)
    outcome = {
        "dead_lettered": Outcome.retry("busy"),
        "failed": Outcome.failed("invalid_address"),
    }.get(end)
    if end == "cancelled":
        await redis.set(cancelled_key("demo", first.notification_id), "1")
    if end == "expired":
        first.expires_time.FromDatetime(NOW - timedelta(days=1))
    provider = ScriptedProvider(
        script=lambda job: (
            (job.content.title == "first" and outcome) or Outcome.sent("m")
        )
    )
    await mesh.worker(provider)
    await mesh.publish(second, first)
    await mesh.until("SENT", end.upper())
    assert await redis.zcard(ORDER) == 0


@pytest.mark.integration
async def test_a_worker_that_died_before_it_made_room_is_made_up_for_by_the_fold(
    mesh: Any, redis: Redis
) -> None:
    first, second = parcel("first"), parcel("second")
    provider = ScriptedProvider()
    await mesh.worker(provider)
    await mesh.publish(first)
    await mesh.until("SENT")
    # As if it had died after the done mark: its place is still taken.
    await take_places(redis, first, second)
    await mesh.publish(second)
    await mesh.publish(first)
    await mesh.until("SENT", "SENT", "FOLDED")
    assert titles(provider) == ["first", "second"]
