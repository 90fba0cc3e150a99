from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.runtime.delivery.claims import Ask, Claims, ClaimState, Mark
from clarion.runtime.delivery.in_memory import make_job
from clarion.runtime.keys import cancelled_key, claim_key, latest_key, suppressed_key

pytestmark = pytest.mark.integration

LONG = timedelta(seconds=30)
SHORT = timedelta(milliseconds=50)


def asks(owner: str, *jobs: DeliveryJob, expired: bool = False) -> list[Ask]:
    return [Ask(job, owner, expired) for job in jobs]


async def states(claims: Claims, *args: Ask) -> list[ClaimState]:
    return [claim.state for claim in await claims.claim(args)]


@pytest.fixture(params=["redis", "older_redis"])
def claims(request: pytest.FixtureRequest) -> Claims:
    return Claims(request.getfixturevalue(request.param), lease=LONG)


async def test_of_concurrent_claimers_exactly_one_wins(claims: Claims) -> None:
    jobs = [make_job() for _ in range(50)]
    found = await asyncio.gather(
        *(claims.claim(asks(f"w{n}", *jobs)) for n in range(8))
    )
    for place in range(len(jobs)):
        got = [answer[place].state for answer in found]
        assert got.count(ClaimState.CLAIMED) == 1
        assert got.count(ClaimState.LEASED) == 7


async def test_a_repeated_call_finds_its_own_lease(claims: Claims) -> None:
    job = make_job()
    for _ in range(2):
        assert await states(claims, *asks("w1", job)) == [ClaimState.CLAIMED]


async def test_a_copy_in_the_same_call_is_leased_to_the_first(claims: Claims) -> None:
    job = make_job()
    first, copy = Ask(job, "w:1:1:0", False), Ask(job, "w:1:1:1", False)
    found = await states(claims, first, copy, *asks("w:1:1:2", make_job()))
    assert found == [ClaimState.CLAIMED, ClaimState.LEASED, ClaimState.CLAIMED]


async def test_a_lease_says_how_long_it_lasts(claims: Claims) -> None:
    job = make_job()
    await claims.claim(asks("w1", job))
    [claim] = await claims.claim(asks("w2", job))
    assert claim.state is ClaimState.LEASED
    assert timedelta(seconds=25) < claim.lease_left <= LONG


async def test_a_lease_that_ran_out_is_taken_over_and_said_so(
    redis: Redis, wait_for: Any
) -> None:
    claims = Claims(redis, lease=SHORT)
    job = make_job()
    await claims.claim(asks("w1", job))
    seen = []

    async def taken() -> bool:
        seen.extend(await states(claims, *asks("w2", job)))
        return seen[-1] is not ClaimState.LEASED

    await wait_for(taken)
    assert seen[-1] is ClaimState.TAKEN_OVER


async def test_a_renewed_lease_lasts_from_now_on(redis: Redis) -> None:
    job = make_job()
    await Claims(redis, lease=timedelta(seconds=2)).claim(asks("w1", job))
    longer = Claims(redis, lease=LONG)
    assert await longer.renew([(job, "w1")]) == 1
    [claim] = await longer.claim(asks("w2", job))
    assert claim.lease_left > timedelta(seconds=20)


async def test_only_the_owner_renews(claims: Claims) -> None:
    job = make_job()
    await claims.claim(asks("w1", job))
    assert await claims.renew([(job, "w2"), (make_job(), "w1")]) == 0


async def test_a_done_delivery_tells_how_it_ended(claims: Claims) -> None:
    job = make_job()
    await claims.claim(asks("w1", job))
    await claims.settle([Mark.done(job, "w1", b"sent \x1f\xff")])
    [claim] = await claims.claim(asks("w2", job))
    assert (claim.state, claim.outcome) == (ClaimState.DONE, b"sent \x1f\xff")


async def test_done_marks_end_with_their_time_to_live(
    claims: Claims, redis: Redis
) -> None:
    job = make_job()
    await claims.settle([Mark.done(job, "w1", b"x")])
    left = await redis.ttl(claim_key("demo", job.delivery_id))
    assert 86_000 < left <= 86_400


async def test_a_job_older_than_the_attempt_waited_for_is_a_copy(
    claims: Claims,
) -> None:
    job = make_job()
    await claims.claim(asks("w1", job))
    await claims.settle([Mark.waiting(job, "w1", 2)])
    assert await states(claims, *asks("w2", job)) == [ClaimState.WAITING]
    job.attempt = 2
    assert await states(claims, *asks("w2", job)) == [ClaimState.CLAIMED]


async def test_a_late_worker_does_not_undo_what_another_did(claims: Claims) -> None:
    job = make_job()
    await claims.claim(asks("w2", job))
    await claims.settle([Mark.done(job, "w2", b"x")])
    await claims.settle([Mark.waiting(job, "w1", 2)])
    assert await states(claims, *asks("w3", job)) == [ClaimState.DONE]


async def test_what_came_in_since_stops_a_delivery(
    claims: Claims, redis: Redis
) -> None:
    jobs = cancelled, suppressed, plain = make_job(), make_job(), make_job()
    await redis.set(cancelled_key("demo", cancelled.notification_id), 1)
    key = suppressed_key("demo", "push", suppressed.target.address)
    await redis.set(key, 1)
    assert await states(claims, *asks("w1", *jobs)) == [
        ClaimState.CANCELLED,
        ClaimState.SUPPRESSED,
        ClaimState.CLAIMED,
    ]
    assert not await redis.exists(claim_key("demo", cancelled.delivery_id))
    assert await redis.exists(claim_key("demo", plain.delivery_id))


REASONS = ("bounce", "complaint", "stop", "unsubscribe", "unregistered", "manual", "1")


async def test_only_critical_mail_goes_to_who_unsubscribed(
    claims: Claims, redis: Redis
) -> None:
    table = [
        (reason, channel, critical, make_job(channel=channel, critical=critical))
        for reason in REASONS
        for channel in ("push", "email", "sms", "in_app")
        for critical in (False, True)
    ]
    for reason, channel, _, job in table:
        await redis.set(suppressed_key("demo", channel, job.target.address), reason)
    found = await states(claims, *asks("w1", *(row[3] for row in table)))
    passed = [
        row[:3]
        for row, state in zip(table, found, strict=True)
        if state is ClaimState.CLAIMED
    ]
    assert passed == [("unsubscribe", "email", True)]
    assert set(found) == {ClaimState.CLAIMED, ClaimState.SUPPRESSED}


async def test_critical_mail_is_stopped_by_all_else(
    claims: Claims, redis: Redis
) -> None:
    cancelled = make_job(channel="email", critical=True)
    expired = make_job(channel="email", critical=True)
    for job in (cancelled, expired):
        key = suppressed_key("demo", "email", job.target.address)
        await redis.set(key, "unsubscribe")
    await redis.set(cancelled_key("demo", cancelled.notification_id), 1)
    assert await states(claims, *asks("w1", cancelled)) == [ClaimState.CANCELLED]
    # What is over is over, by whichever word.
    (state,) = await states(claims, *asks("w1", expired, expired=True))
    assert state is not ClaimState.CLAIMED


async def test_what_is_done_is_done_even_if_cancelled_or_expired_since(
    claims: Claims, redis: Redis
) -> None:
    job = make_job()
    await claims.settle([Mark.done(job, "w1", b"x")])
    await redis.set(cancelled_key("demo", job.notification_id), 1)
    assert await states(claims, *asks("w2", job, expired=True)) == [ClaimState.DONE]


async def test_an_expired_job_is_not_leased(claims: Claims, redis: Redis) -> None:
    job = make_job()
    assert await states(claims, *asks("w1", job, expired=True)) == [ClaimState.EXPIRED]
    assert not await redis.exists(claim_key("demo", job.delivery_id))


async def test_answers_keep_the_order_of_mixed_tenants_and_long_chunks(
    claims: Claims,
) -> None:
    jobs = [make_job(tenant_id=f"t{n % 3}") for n in range(1700)]
    await claims.settle([Mark.done(job, "w0", b"x") for job in jobs[::7]])
    found = await states(claims, *asks("w1", *jobs))
    for place, state in enumerate(found):
        assert state is (ClaimState.CLAIMED if place % 7 else ClaimState.DONE)


def keyed(number: int, at: int, key: str = "order-1", **fields: Any) -> DeliveryJob:
    job = make_job(collapse_key=key, notification_id=f"n-{number}", **fields)
    job.accepted_time.FromMicroseconds(at)
    return job


@pytest.mark.parametrize(
    ("at", "number", "state"),
    [
        (1_000, 5, ClaimState.SUPERSEDED),
        (2_000, 4, ClaimState.SUPERSEDED),
        (2_000, 5, ClaimState.CLAIMED),
        (2_000, 6, ClaimState.CLAIMED),
        (2_001, 1, ClaimState.CLAIMED),
    ],
)
async def test_a_newer_one_with_the_key_supersedes(
    claims: Claims, redis: Redis, at: int, number: int, state: ClaimState
) -> None:
    await redis.set(latest_key("demo", "ada", "order-1"), "2000 n-5")
    is_itself = number == 5 and at == 2_000
    job = keyed(number if number != 5 or is_itself else 3, at)
    assert await states(claims, *asks("w", job)) == [state]


async def test_the_latest_itself_is_never_superseded_by_its_own_copy(
    claims: Claims, redis: Redis
) -> None:
    await redis.set(latest_key("demo", "ada", "order-1"), "2000 n-5")
    job = keyed(5, 1_000)
    assert await states(claims, *asks("w", job)) == [ClaimState.CLAIMED]


async def test_jobs_with_and_without_keys_are_told_apart(
    claims: Claims, redis: Redis
) -> None:
    await redis.set(latest_key("demo", "ada", "a"), "2000 n-9")
    await redis.set(cancelled_key("demo", "n-7"), "1")
    jobs = [
        make_job(),
        keyed(1, 1_000, "a"),
        make_job(),
        keyed(2, 1_000, "b"),
        keyed(3, 1_000, "a", user_id="bob"),
        keyed(4, 1_000, "a"),
        keyed(7, 1_000, "a"),
        keyed(8, 1_000, "a", tenant_id="other"),
    ]
    assert [s.value for s in await states(claims, *asks("w", *jobs))] == list(
        "CNCCCNXC"
    )


async def test_what_was_sent_before_a_newer_one_came_is_done(
    claims: Claims, redis: Redis
) -> None:
    job = keyed(1, 1_000)
    await claims.claim(asks("w1", job))
    await claims.settle([Mark.done(job, "w1", b"sent")])
    await redis.set(latest_key("demo", "ada", "order-1"), "2000 n-5")
    assert await states(claims, *asks("w2", job)) == [ClaimState.DONE]


async def test_one_that_waits_for_its_retry_is_superseded(
    claims: Claims, redis: Redis
) -> None:
    job = keyed(1, 1_000)
    await claims.claim(asks("w1", job))
    await claims.settle([Mark.waiting(job, "w1", 2)])
    await redis.set(latest_key("demo", "ada", "order-1"), "2000 n-5")
    job.attempt = 2
    assert await states(claims, *asks("w2", job)) == [ClaimState.SUPERSEDED]
