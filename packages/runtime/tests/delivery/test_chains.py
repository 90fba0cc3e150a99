from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clarion.api.event.v1.work_pb2 import DeliveryJob, IntakeItem
from clarion.runtime.clock import SystemClock
from clarion.runtime.delivery.attempts import RetryPolicy
from clarion.runtime.delivery.chains import Chains
from clarion.runtime.delivery.in_memory import ScriptedProvider, make_job
from clarion.runtime.delivery.outcome import Outcome
from clarion.runtime.delivery.reached import InMemoryReached, ValkeyReached
from clarion.runtime.errors import UnavailableError
from clarion.runtime.jetstream import InMemoryPublisher, InMemoryScheduler
from clarion.runtime.jetstream.errors import StreamFullError
from clarion.runtime.keys import (
    cancelled_key,
    escalation_key,
    fallback_key,
    suppressed_key,
)

pytestmark = pytest.mark.integration

ONCE = RetryPolicy(waits=())


def chained(notification: str, devices: int = 2, **fields: Any) -> list[DeliveryJob]:
    """The jobs of one channel that another one stands by behind."""
    step = IntakeItem(notification_id=notification, tenant_id="demo", release=1)
    step.channels.append("sms")
    return [
        make_job(
            notification_id=notification,
            delivery_id=f"{notification}-{number}",
            fallback=step.SerializeToString(),
            fallback_deliveries=devices,
            **fields,
        )
        for number in range(devices)
    ]


def by_number(*outcomes: Outcome) -> Any:
    return lambda job: outcomes[int(job.delivery_id.rpartition("-")[2])]


FAILED = Outcome.failed("unregistered_token")
RETRY = Outcome.retry("provider_unavailable")
SENT = Outcome.sent("m")
UNKNOWN = Outcome.unknown("timeout")

ENDS = [
    ("both-fail", [FAILED, FAILED], ONCE, True),
    ("one-is-sent", [FAILED, SENT], ONCE, False),
    ("both-are-given-up", [RETRY, RETRY], ONCE, True),
    ("one-fails-one-is-given-up", [FAILED, RETRY], ONCE, True),
    ("nobody-knows", [FAILED, UNKNOWN], RetryPolicy((), unknown="keep"), False),
]


@pytest.mark.parametrize(("name", "outcomes", "policy", "passes"), ENDS)
async def test_the_next_channel_has_its_turn_when_all_devices_ended_unsent(
    mesh: Any, name: str, outcomes: list[Outcome], policy: RetryPolicy, passes: bool
) -> None:
    provider = ScriptedProvider(script=by_number(*outcomes))
    await mesh.publish(*chained(name))
    await mesh.worker(provider, policy=policy)
    await mesh.until()
    steps = await mesh.steps()
    assert [step.notification_id for step in steps] == [name] * passes
    assert all((step.release, list(step.channels)) == (1, ["sms"]) for step in steps)


async def test_devices_in_messages_of_their_own_count_together(mesh: Any) -> None:
    provider = ScriptedProvider(script=by_number(FAILED, FAILED, FAILED))
    await mesh.worker(provider)
    for job in chained("apart", 3):
        assert not await mesh.steps()
        await mesh.publish(job)
        await mesh.until(*["FAILED"] * (int(job.delivery_id[-1]) + 1))
    assert len(await mesh.steps()) == 1


async def test_attempts_that_are_repeated_pass_nothing_on_before_the_last(
    mesh: Any,
) -> None:
    provider = ScriptedProvider(script=by_number(FAILED, RETRY))
    await mesh.publish(*chained("slow"))
    await mesh.worker(provider)
    kinds = await mesh.until("FAILED", "RETRYING", "RETRYING", "DEAD_LETTERED")
    assert kinds.count("RETRYING") == 2
    assert len(await mesh.steps()) == 1


async def test_a_message_that_comes_again_passes_on_once(mesh: Any) -> None:
    jobs = chained("again")
    await mesh.worker(ScriptedProvider(script=by_number(FAILED, FAILED)))
    for _ in range(3):
        await mesh.publish(*jobs)
    await mesh.until("FOLDED", "FOLDED")
    assert len(await mesh.steps()) == 1


async def test_a_crash_after_the_done_marks_still_passes_on(
    mesh: Any, wait_for: Any
) -> None:
    # The worker dies between what it marked as over and the count.
    class Dying(Chains):
        async def ended(self, entries: Any) -> None:
            list(entries)
            raise UnavailableError("dies here")

    jobs = chained("crash")
    real = mesh.chains
    mesh.chains = lambda **chain: Dying(
        mesh.redis,
        mesh.streams.publisher,
        mesh.streams.scheduler,
        ValkeyReached(mesh.redis),
        SystemClock(),
    )
    provider = ScriptedProvider(script=by_number(FAILED, FAILED))
    first = await mesh.worker(provider)
    await mesh.publish(*jobs)
    await mesh_kinds(mesh, "FAILED", 2)
    await first.crash()
    assert not await mesh.steps()
    mesh.chains = real
    await mesh.worker(provider)
    await mesh.until("FOLDED", "FOLDED", timeout=45)
    assert len(await mesh.steps()) == 1
    assert len(provider.sent) == 2


async def mesh_kinds(mesh: Any, kind: str, count: int) -> None:
    async with asyncio.timeout(15):
        while (await mesh.kinds()).count(kind) < count:  # noqa: ASYNC110 - a server's
            await asyncio.sleep(0.02)


async def test_what_is_suppressed_or_expired_at_the_claim_passes_on(mesh: Any) -> None:
    suppressed, expired = chained("stopped")
    key = suppressed_key("demo", "push", suppressed.target.address)
    await mesh.redis.set(key, 1)
    expired.expires_time.FromDatetime(datetime.now(UTC) - timedelta(seconds=1))
    await mesh.publish(suppressed, expired)
    await mesh.worker(ScriptedProvider())
    await mesh.until("SUPPRESSED", "EXPIRED")
    assert len(await mesh.steps()) == 1


async def test_what_is_cancelled_passes_nothing_on(mesh: Any) -> None:
    jobs = chained("cancelled")
    await mesh.redis.set(cancelled_key("demo", "cancelled"), 1)
    await mesh.publish(*jobs)
    await mesh.worker(ScriptedProvider())
    await mesh.until("CANCELLED", "CANCELLED")
    assert not await mesh.steps()


async def test_a_receipt_may_say_later_that_nothing_arrived(mesh: Any) -> None:
    jobs = chained("receipt")
    await mesh.worker(
        ScriptedProvider(script=by_number(FAILED, SENT)), has_receipts=True
    )
    await mesh.publish(*jobs)
    await mesh.until("FAILED", "SENT")
    lives = await mesh.redis.pttl(fallback_key("demo", "receipt-1"))
    assert timedelta(days=2) < timedelta(milliseconds=lives) <= timedelta(days=3)
    kept = DeliveryJob.FromString(
        await mesh.redis.get(fallback_key("demo", "receipt-1"))
    )
    assert {f.name for f, _ in kept.ListFields()}.isdisjoint({"content", "target"})
    assert not await mesh.steps()
    chains = mesh.chains()
    for _ in range(2):
        await chains.undelivered("demo", "receipt-1")
        await chains.undelivered("demo", "of-no-chain")
        await chains.undelivered("other", "receipt-1")
    (step,) = await mesh.steps()
    assert step.notification_id == "receipt"


async def test_what_the_inbox_took_is_delivered(mesh: Any) -> None:
    waits, reads = (
        chained(name, 1, escalate_until=until)
        for name, until in (("waits", "delivered"), ("reads", "read"))
    )
    for name in ("waits", "reads"):
        await mesh.redis.hset(escalation_key("demo", name), "due:1", 1)
    await mesh.worker(ScriptedProvider(), sent_is_delivered=True)
    await mesh.publish(*waits, *reads)
    await mesh.until("SENT", "SENT")
    assert await mesh.redis.hget(escalation_key("demo", "waits"), "delivered")
    assert not await mesh.redis.hget(escalation_key("demo", "reads"), "delivered")


async def test_a_full_queue_of_the_router_holds_no_channel_up(redis: Any) -> None:
    publisher, scheduler = InMemoryPublisher(), InMemoryScheduler()
    publisher.error = StreamFullError("full")
    chains = Chains(redis, publisher, scheduler, InMemoryReached(), SystemClock())
    await chains.unsent(chained("full"))
    (waiting,) = scheduler.scheduled.values()
    assert waiting.target == "due.intake.high"
    assert waiting.due <= datetime.now(UTC)


async def test_only_what_an_escalation_waits_for_is_marked(redis: Any) -> None:
    reached = ValkeyReached(redis)
    keys = [escalation_key("demo", name) for name in ("a", "b")]
    await redis.hset(keys[0], "due:1", 1)
    for _ in range(2):
        await reached.mark("demo", ["a", "b"], "read")
        first = await redis.hget(keys[0], "read")
    assert int(first) / 1e6 == pytest.approx(datetime.now(UTC).timestamp(), abs=60)
    assert await redis.hget(keys[0], "read") == first
    assert not await redis.exists(keys[1])
