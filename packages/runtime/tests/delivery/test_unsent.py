from __future__ import annotations

import itertools
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from clarion.api.event.v1.work_pb2 import DeliveryChunk, IntakeChunk
from clarion.runtime.clock import SystemClock
from clarion.runtime.delivery import events
from clarion.runtime.delivery.attempts import Verdict
from clarion.runtime.delivery.claims import Ask, Claim, ClaimState
from clarion.runtime.delivery.follow_ups import HEADER
from clarion.runtime.delivery.given_up import GivenUp
from clarion.runtime.delivery.in_memory import ScriptedProvider, make_job
from clarion.runtime.delivery.outcome import Outcome
from clarion.runtime.delivery.unsent import Unsent, is_unsent
from clarion.runtime.delivery.unsent_counts import (
    Count,
    InMemoryUnsentCounts,
    UnsentCounts,
    ValkeyUnsentCounts,
)
from clarion.runtime.jetstream import InMemoryPublisher, InMemoryScheduler
from clarion.runtime.jetstream.errors import StreamFullError
from clarion.runtime.jetstream.inbound import Inbound
from clarion.runtime.keys import cancelled_key, unsent_key

FAILED = Outcome.failed("invalid_address")
SENT = Outcome.sent("m-1")


def remembered(outcome: Outcome) -> bytes:
    entry: Any = SimpleNamespace(
        outcome=outcome, provider="p", attempt=1, at=datetime.now(UTC), latency=None
    )
    return events.remembered(entry)


ENDS: list[tuple[Claim, Outcome | None, Verdict | None, bool]] = [
    (Claim(ClaimState.CANCELLED), None, None, True),
    (Claim(ClaimState.SUPERSEDED), None, None, True),
    (Claim(ClaimState.SUPPRESSED), None, None, True),
    (Claim(ClaimState.EXPIRED), None, None, True),
    (Claim(ClaimState.LEASED), None, None, False),
    (Claim(ClaimState.WAITING), None, None, False),
    (Claim(ClaimState.DONE, outcome=remembered(FAILED)), None, None, True),
    (Claim(ClaimState.DONE, outcome=remembered(SENT)), None, None, False),
    (Claim(ClaimState.CLAIMED), FAILED, Verdict.DONE, True),
    (Claim(ClaimState.CLAIMED), SENT, Verdict.DONE, False),
    (Claim(ClaimState.CLAIMED), Outcome.retry("busy"), Verdict.AGAIN, False),
    (Claim(ClaimState.CLAIMED), Outcome.retry("busy"), Verdict.EXHAUSTED, True),
    (Claim(ClaimState.CLAIMED), Outcome.unknown("timeout"), Verdict.EXHAUSTED, False),
]


@pytest.mark.parametrize(("claim", "outcome", "verdict", "unsent"), ENDS)
def test_what_ended_for_sure_without_being_sent_counts(
    claim: Claim, outcome: Outcome | None, verdict: Verdict | None, unsent: bool
) -> None:
    job = make_job(deliveries=1)
    entry: Any = SimpleNamespace(job=job, claim=claim, outcome=outcome, verdict=verdict)
    assert is_unsent(entry) is unsent
    job.deliveries = 0
    assert not is_unsent(entry)


def counting(counts: UnsentCounts, publisher: InMemoryPublisher) -> Unsent:
    return Unsent(counts, publisher, InMemoryScheduler(), SystemClock())


def given_back(publisher: InMemoryPublisher) -> list[Any]:
    return [
        item
        for message in publisher.published
        for item in IntakeChunk.FromString(message.body).items
    ]


@pytest.mark.integration
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_the_last_of_all_gives_back_in_any_order(redis: Any, order: Any) -> None:
    publisher = InMemoryPublisher()
    unsent = counting(ValkeyUnsentCounts(redis), publisher)
    jobs = [make_job(deliveries=3, notification_id="n-1") for _ in range(3)]
    for place in order:
        assert not given_back(publisher)
        await unsent.ended([jobs[place]])
    (item,) = given_back(publisher)
    assert (item.notification_id, item.give_back) == ("n-1", True)
    assert (item.notification.user_id, item.notification.type) == (
        "ada",
        "order_shipped",
    )
    ttl = await redis.ttl(unsent_key("demo", "n-1"))
    assert 2 * 86400 < ttl <= 3 * 86400


@pytest.mark.integration
async def test_a_delivery_that_is_told_twice_counts_once(redis: Any) -> None:
    publisher = InMemoryPublisher()
    unsent = counting(ValkeyUnsentCounts(redis), publisher)
    jobs = [make_job(deliveries=2, notification_id="n-1") for _ in range(2)]
    await unsent.ended([jobs[0], jobs[0]])
    await unsent.ended([jobs[0]])
    assert not given_back(publisher)
    await unsent.ended(jobs)
    await unsent.ended(jobs)
    assert len({message.message_id for message in publisher.published}) == 1


@pytest.fixture(
    params=["memory", pytest.param("valkey", marks=pytest.mark.integration)]
)
def counts(request: pytest.FixtureRequest) -> UnsentCounts:
    if request.param == "memory":
        return InMemoryUnsentCounts()
    return ValkeyUnsentCounts(request.getfixturevalue("redis"))


PARTS = [
    Count("t", "n", 1, is_last=False, back=b"whose", ended=["d-1"]),
    Count("t", "n", 3, is_last=True),
    Count("t", "n", 3, is_last=True, back=b"whose", ended=["d-2", "d-3"]),
]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_parts_are_complete_with_the_last_of_them_in_any_order(
    counts: UnsentCounts, order: Any
) -> None:
    told = set()
    for place in order:
        told.add(place)
        back = b"whose" if told >= {0, 2} else None
        assert await counts.add([PARTS[place]]) == [back]
        assert await counts.add([PARTS[place]]) == [back]
    # Told once more, as after a crash; another tenant's is another one.
    other = PARTS[0]._replace(tenant="u")
    assert await counts.add([other, PARTS[2]]) == [None, b"whose"]


async def test_what_goes_on_or_has_no_failure_is_not_complete(
    counts: UnsentCounts,
) -> None:
    assert await counts.add([PARTS[0], PARTS[0]]) == [None, None]
    assert await counts.add([Count("t", "m", 0, is_last=True)]) == [None]


@pytest.mark.integration
async def test_an_open_count_is_kept_for_longer_than_limits_defer(redis: Any) -> None:
    await ValkeyUnsentCounts(redis).add(PARTS[:1])
    assert 9 * 86400 < await redis.ttl(unsent_key("t", "n")) <= 10 * 86400


async def test_what_is_followed_waits_and_what_is_withdrawn_does_not(
    counts: UnsentCounts,
) -> None:
    publisher = InMemoryPublisher()
    unsent = counting(counts, publisher)
    jobs = [
        make_job(deliveries=1, followed=True, notification_id=f"n-{n}")
        for n in range(2)
    ]
    await unsent.ended(jobs)
    assert not given_back(publisher)
    await unsent.ended(jobs[1:], withdrawn={jobs[1].delivery_id})
    (item,) = given_back(publisher)
    assert item.notification_id == "n-1"


async def test_a_withdrawn_part_does_not_give_back_what_a_later_one_sent(
    counts: UnsentCounts,
) -> None:
    publisher = InMemoryPublisher()
    job = make_job(deliveries=1, followed=True, notification_id="n-1")
    # As the router tells before the jobs of the later part are there.
    await counts.add([Count("demo", "n-1", 2, is_last=True)])
    await counting(counts, publisher).ended([job], withdrawn={job.delivery_id})
    assert not given_back(publisher)


async def test_a_channel_on_which_nothing_was_sent_is_given_back_alone(
    counts: UnsentCounts,
) -> None:
    publisher = InMemoryPublisher()
    unsent = counting(counts, publisher)
    jobs = [
        make_job(deliveries=3, channel_deliveries=2, notification_id="n-1")
        for _ in range(2)
    ]
    mail = make_job(
        deliveries=3, channel_deliveries=1, notification_id="n-1", channel="email"
    )
    await unsent.ended(jobs[:1])
    assert not given_back(publisher)
    await unsent.ended(jobs[1:])
    (push,) = given_back(publisher)
    assert (push.give_back, list(push.channels)) == (True, ["push"])
    await unsent.ended([mail])
    told = [list(item.channels) for item in given_back(publisher)[1:]]
    assert sorted(told) == [[], ["email"]]


async def test_a_full_intake_does_not_hold_the_channel() -> None:
    class Full(InMemoryPublisher):
        async def publish(self, *args: Any, **more: Any) -> Any:
            raise StreamFullError

    scheduler = InMemoryScheduler()
    unsent = Unsent(InMemoryUnsentCounts(), Full(), scheduler, SystemClock())
    await unsent.ended([make_job(deliveries=1)])
    (scheduled,) = scheduler.scheduled.values()
    assert scheduled.target == "due.intake.high"
    (item,) = IntakeChunk.FromString(scheduled.body).items
    assert item.give_back


@pytest.mark.integration
async def test_a_worker_gives_back_what_failed_or_was_cancelled_on_every_device(
    mesh: Any,
) -> None:
    gone = [make_job(deliveries=2, notification_id="gone") for _ in range(2)]
    half = [make_job(deliveries=2, notification_id="half") for _ in range(2)]
    stopped = make_job(deliveries=1, notification_id="stopped")
    await mesh.redis.set(cancelled_key("demo", "stopped"), b"1")
    refused = {job.delivery_id for job in (*gone, half[0])}

    def script(job: Any) -> Outcome:
        return FAILED if job.delivery_id in refused else SENT

    await mesh.publish(gone[0], half[0], stopped)
    await mesh.publish(half[1], gone[1])
    await mesh.worker(ScriptedProvider("fcm", script))
    await mesh.until(*["FAILED"] * 3, "CANCELLED", "SENT")
    items = await mesh.steps()
    assert sorted(item.notification_id for item in items) == ["gone", "stopped"]
    assert all(item.give_back for item in items)


@pytest.mark.integration
async def test_a_failure_that_is_delivered_again_gives_back_once(mesh: Any) -> None:
    job = make_job(deliveries=1)
    await mesh.publish(job)
    await mesh.worker(ScriptedProvider("fcm", lambda _: FAILED))
    await mesh.until("FAILED")
    # The same job once more, as after a crash before the ack.
    await mesh.publish(job)
    await mesh.until("FAILED")
    assert len(await mesh.steps()) == 1


@pytest.mark.integration
async def test_a_dead_letter_gives_back_for_jobs_that_nobody_claimed(mesh: Any) -> None:
    publisher = InMemoryPublisher()
    unsent = counting(ValkeyUnsentCounts(mesh.redis), publisher)
    given_up = GivenUp(mesh.redis, unsent)
    never, begun = (make_job(deliveries=1, notification_id=n) for n in ("a", "b"))
    broken = make_job(deliveries=1, delivery_id="")
    await mesh.claims().claim([Ask(begun, "somebody", False)])
    body = DeliveryChunk(jobs=[never, broken, begun]).SerializeToString()
    await given_up(letter(body))
    await given_up(letter(body))
    await given_up(letter(b"\xff\xff"))
    await given_up(letter(body, {HEADER: "1"}))
    assert [item.notification_id for item in given_back(publisher)] == ["a"]


def letter(data: bytes, headers: dict[str, str] | None = None) -> Inbound:
    now = datetime.now(UTC)
    return Inbound("work.push.high", data, headers or {}, "WORK", 1, 1, now)


@pytest.mark.integration
async def test_a_message_that_cannot_be_delivered_gives_back_what_can_be_told(
    mesh: Any,
) -> None:
    whole = make_job(deliveries=1, notification_id="whole")
    await mesh.publish(whole, make_job(deliveries=1, delivery_id=""))
    await mesh.worker(ScriptedProvider("fcm", lambda _: SENT))

    await mesh.until()
    (item,) = await mesh.steps()
    assert (item.notification_id, item.give_back) == ("whole", True)
