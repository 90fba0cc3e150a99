from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clarion.api.router.v1.notification_service_pb2 import (
    BatchSendNotificationsRequest,
    SendNotificationRequest,
)
from clarion.router.overflowing import Overflow, OverflowScheduler
from clarion.router.settings import Settings
from clarion.router.waits import Waits
from clarion.runtime.jetstream.in_memory import InMemoryScheduler
from clarion.runtime.pacing import TenantShares
from clarion.runtime.streams import due_subject, later_subject, part_of
from clarion.runtime.testing import FakeClock

PART_OF_A = part_of("low.overflow", "a")
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def overflow_of_waiting_lanes(clock: FakeClock) -> Overflow:
    return Overflow(TenantShares(100, 300), clock, Waits(clock), timedelta(0))


@pytest.mark.parametrize("behind", ["low", "low.overflow"])
def test_shares_hold_while_a_lane_is_behind_and_not_before(behind: str) -> None:
    clock = FakeClock()
    waits = Waits(clock)
    overflow = Overflow(TenantShares(100, 300), clock, waits)
    items = list(range(2000))
    assert overflow.split("a", {"low": items}) == {"low": items}
    with waits.in_hand(behind, clock.now()):
        assert overflow.split("a", {"low": [1]}) == {"low": [1]}
        clock.advance(timedelta(seconds=0.2))
        assert overflow.split("b", {"low": [1]}) == {"low": [1]}
        flows = overflow.split("a", {"low": items, "high": [1]})
        assert [len(flows[flow]) for flow in ("low", PART_OF_A, "high")] == [
            20,
            1980,
            1,
        ]
    assert PART_OF_A not in overflow.split("a", {"low": items})


def test_the_wait_of_the_last_batch_counts_for_a_second() -> None:
    clock = FakeClock()
    waits = Waits(clock)
    with waits.in_hand("low", clock.now() - timedelta(seconds=3)):
        pass
    assert waits.longest("low") == timedelta(seconds=3)
    assert waits.longest("high") == timedelta(0)
    clock.advance(timedelta(seconds=1.1))
    assert waits.longest("low") == timedelta(0)


def test_what_is_beyond_a_share_overflows_and_nothing_is_left_out() -> None:
    overflow = overflow_of_waiting_lanes(FakeClock())
    items = list(range(500))
    flows = overflow.split("a", {"low": items, "high": [1]})
    assert flows == {"low": items[:300], PART_OF_A: items[300:], "high": [1]}
    assert overflow.split("a", {"low": [1]}) == {PART_OF_A: [1]}
    assert overflow.split("b", {"low": [1]}) == {"low": [1]}


def test_a_share_comes_back_with_time() -> None:
    clock = FakeClock()
    overflow = overflow_of_waiting_lanes(clock)
    overflow.split("a", {"low": list(range(1000))})
    clock.advance(timedelta(seconds=1))
    flows = overflow.split("a", {"low": list(range(150))})
    assert [len(flows[flow]) for flow in ("low", PART_OF_A)] == [100, 50]


async def test_of_what_is_due_in_one_second_the_rest_overflows() -> None:
    inner = InMemoryScheduler()
    scheduler = OverflowScheduler(inner, 2, FakeClock())

    async def schedule(tenant: str, number: int, due: datetime) -> str:
        subject = later_subject("intake", tenant, str(number))
        await scheduler.schedule(
            subject,
            target=due_subject("intake", "low"),
            due=due,
            body=b"",
            message_id=str(number),
        )
        return inner.scheduled[subject].target

    of_a = [await schedule("a", n, NOON) for n in range(3)]
    assert of_a == ["due.intake.low", "due.intake.low", f"due.intake.{PART_OF_A}"]
    assert await schedule("b", 1, NOON) == "due.intake.low"
    assert await schedule("a", 9, NOON + timedelta(seconds=1)) == "due.intake.low"
    assert await scheduler.cancel(later_subject("intake", "a", "*")) == 4


async def test_what_is_not_for_a_lane_of_intake_is_left_alone() -> None:
    inner = InMemoryScheduler()
    target = due_subject("push", "low")
    await OverflowScheduler(inner, 0, FakeClock()).schedule(
        "later.retry.a.1", target=target, due=NOON, body=b"", message_id="1"
    )
    assert inner.scheduled["later.retry.a.1"].target == target


@pytest.mark.integration
async def test_a_flood_leaves_others_their_lane_and_nothing_is_lost_in_a_kill(
    start: Any, own_nats: Any, notify: Any
) -> None:
    at_once = Settings(tenant_calm=timedelta(0))
    async with start(nats_url=own_nats.url, own=at_once) as flooding:
        other = replace(flooding, tenant=f"{flooding.tenant}-other")
        accepted: list[str] = []

        async def flood(batch: int) -> None:
            request = BatchSendNotificationsRequest(
                notifications=[
                    notify(
                        channels=["email"],
                        priority="low",
                        idempotency_key=f"{batch}-{number}",
                    )
                    for number in range(250)
                ]
            )
            answer = await flooding.stub.BatchSendNotifications(request, timeout=25)
            accepted.extend(one.notification.notification_id for one in answer.results)

        await flood(0)
        await flood(1)
        floods = asyncio.gather(flood(2), flood(3))
        await own_nats.kill()
        await own_nats.start()
        await floods
        singles = set()
        for _ in range(10):
            one = notify(channels=["email"], priority="low")
            request = SendNotificationRequest(notification=one)
            answer = await other.stub.SendNotification(request, timeout=25)
            singles.add(answer.notification_id)

        jobs = await other.until(lambda: other.jobs("work.email.low"), 10, 20)
        assert {job.notification_id for job in jobs} == singles
        assert await other.jobs("work.email.low.>") == []

        async def found() -> list[str]:
            flows = ("work.email.low", "work.email.low.>")
            return [
                job.notification_id
                for flow in flows
                for job in await flooding.jobs(flow)
            ]

        async def different() -> set[str]:
            return set(await found())

        assert len(set(accepted)) == 1000
        assert await flooding.until(different, 1000, 40) == set(accepted)
        within = await flooding.jobs("work.email.low")
        assert 300 <= len({job.notification_id for job in within}) < 1000
