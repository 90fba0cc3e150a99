from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clarion.api.event.v1.notification_event_pb2 import EVENT_KIND_SENT
from clarion.api.event.v1.work_pb2 import DeliveryChunk, DeliveryJob
from clarion.runtime.caller import current_tenant
from clarion.runtime.delivery.attempts import RetryPolicy
from clarion.runtime.delivery.claims import Ask, Claim
from clarion.runtime.delivery.in_memory import ScriptedProvider, make_job
from clarion.runtime.delivery.outcome import Outcome
from clarion.runtime.delivery.worker import DeliveryWorker
from clarion.runtime.errors import UnavailableError
from clarion.runtime.jetstream import Inbound
from clarion.runtime.keys import cancelled_key, suppressed_key
from clarion.runtime.testing import FakeClock, capture_spans, wait_until
from clarion.runtime.testing.stored import messages_of

pytestmark = pytest.mark.integration

LONG = timedelta(seconds=30)


def by_attempt(*outcomes: Outcome) -> Any:
    """A script: the outcome of attempt 1, 2 ...; the last one for all later ones."""

    def script(job: DeliveryJob) -> Outcome:
        return outcomes[min(job.attempt, len(outcomes)) - 1]

    return script


async def test_every_job_of_several_chunks_is_sent_once_and_told(mesh: Any) -> None:
    provider = ScriptedProvider()
    jobs = [make_job() for _ in range(300)]
    for start in range(0, 300, 100):
        await mesh.publish(*jobs[start : start + 100])
    await mesh.worker(provider)
    assert await mesh.until(*["SENT"] * 300) == ["SENT"] * 300
    assert sorted(j.delivery_id for j in provider.sent) == sorted(
        j.delivery_id for j in jobs
    )


async def test_a_sent_event_says_what_the_provider_said(mesh: Any) -> None:
    job = make_job()
    await mesh.publish(job)
    await mesh.worker(
        ScriptedProvider("fcm", by_attempt(Outcome.sent("m-1", timedelta(seconds=2))))
    )
    await mesh.until("SENT")
    [event] = await mesh.events()
    assert (event.tenant_id, event.user_id, event.type) == (
        "demo",
        "ada",
        "order_shipped",
    )
    assert event.delivery_id == job.delivery_id
    attempt = event.attempt
    assert (attempt.attempt, attempt.provider, attempt.provider_message_id) == (
        1,
        "fcm",
        "m-1",
    )
    assert attempt.provider_latency.seconds == 2
    assert 0 <= attempt.accept_to_provider.ToTimedelta().total_seconds() < 10


async def test_a_retried_delivery_is_sent_once_in_the_end(mesh: Any) -> None:
    retry = Outcome.retry("rate_limited", "429")
    provider = ScriptedProvider(script=by_attempt(retry, retry, Outcome.sent("m")))
    await mesh.publish(make_job())
    await mesh.worker(provider)
    assert await mesh.until("SENT") == ["RETRYING", "RETRYING", "SENT"]
    assert [job.attempt for job in provider.sent] == [1, 2, 3]
    assert provider.sent[2].HasField("first_attempt_time")
    first = (await mesh.events())[0]
    assert (first.reason, first.attempt.provider_code) == ("rate_limited", "429")
    assert first.attempt.HasField("retry_time")


async def test_a_delivery_that_the_server_counts_anew_has_an_owner_of_its_own() -> None:
    owners: list[str] = []

    class Down:
        async def claim(self, asks: Sequence[Ask]) -> list[Claim]:
            owners.extend(ask.owner for ask in asks)
            raise UnavailableError("down")

        async def renew(self, asks: Iterable[tuple[DeliveryJob, str]]) -> int:
            return 0

    clock = FakeClock()
    nowhere: Any = None
    worker = DeliveryWorker(
        "push", [ScriptedProvider()], claims=Down(), recorder=nowhere, clock=clock
    )
    body = DeliveryChunk(jobs=[make_job()]).SerializeToString()
    first = Inbound("work.push.high", body, {}, "WORK", 1, 1, clock.now(), 10.0)
    for message in (first, first, replace(first, received=10.5)):
        with pytest.raises(UnavailableError):
            await worker.handle("high", [message])
    held, again, anew = owners
    assert held == again != anew


async def test_what_rode_with_a_higher_lane_comes_back_by_its_own(
    mesh: Any, wait_for: Any
) -> None:
    script = by_attempt(Outcome.retry("rate_limited"), Outcome.sent("m"))
    provider = ScriptedProvider(script=script)
    rider, driver, newer = make_job(priority="low"), make_job(), make_job(priority="")
    await mesh.publish(driver, rider, newer)
    await mesh.worker(provider)

    async def back() -> list[DeliveryJob]:
        return [
            job
            async for message in messages_of(mesh.streams, "WORK", "work.push.low")
            for job in DeliveryChunk.FromString(message.data).jobs
        ]

    await wait_for(back)
    (own,) = await back()
    assert (own.delivery_id, own.priority) == (rider.delivery_id, "low")
    await wait_until(lambda: len(provider.sent) == 5)
    lanes = [(job.priority, job.attempt) for job in provider.sent]
    assert lanes == [("high", 1), ("low", 1), ("high", 1), ("high", 2), ("high", 2)]


async def test_one_retry_does_not_hold_up_its_chunk(mesh: Any) -> None:
    late = make_job()

    def script(job: DeliveryJob) -> Outcome:
        if job.delivery_id == late.delivery_id:
            return Outcome.retry("rate_limited", after=timedelta(minutes=10))
        return Outcome.sent("m")

    await mesh.publish(late, *(make_job() for _ in range(9)))
    await mesh.worker(ScriptedProvider(script=script))
    await mesh.until("RETRYING", *["SENT"] * 9)


async def test_an_exhausted_delivery_becomes_a_dead_letter_and_is_redriven(
    mesh: Any,
) -> None:
    provider = ScriptedProvider(script=lambda _: Outcome.retry("rate_limited", "429"))
    job = make_job()
    await mesh.publish(job)
    await mesh.worker(provider)
    await mesh.until("RETRYING", "RETRYING", "DEAD_LETTERED")
    page = await mesh.streams.dead_letters.page()
    [stored] = page.letters
    letter = stored.letter
    assert (letter.stage, letter.lane, letter.tenant_id) == ("push", "high", "demo")
    assert (letter.reason, letter.deliveries) == ("attempts_exhausted", 3)
    assert letter.source_subject == "work.push.high"
    [kept] = DeliveryChunk.FromString(letter.body).jobs
    assert kept.delivery_id == letter.delivery_id == job.delivery_id
    provider.script = None
    await mesh.streams.dead_letters.redrive(stored)
    assert (await mesh.until("SENT"))[-1] == "SENT"
    assert [sent.attempt for sent in provider.sent] == [1, 2, 3, 4]


async def test_unknown_is_told_and_tried_again(mesh: Any) -> None:
    provider = ScriptedProvider(
        script=by_attempt(Outcome.unknown("timeout"), Outcome.sent("m"))
    )
    await mesh.publish(make_job())
    await mesh.worker(provider)
    assert await mesh.until("SENT") == ["UNKNOWN", "SENT"]


async def test_unknown_is_kept_by_that_policy(mesh: Any) -> None:
    provider = ScriptedProvider(script=lambda _: Outcome.unknown("timeout"))
    job = make_job()
    await mesh.publish(job)
    await mesh.worker(provider, policy=RetryPolicy(unknown="keep"))
    assert await mesh.until("UNKNOWN") == ["UNKNOWN"]
    await mesh.publish(job)
    await mesh.until("UNKNOWN", "FOLDED")
    assert len(provider.sent) == 1


async def test_what_a_provider_forgets_or_throws_is_unknown(mesh: Any) -> None:
    class Forgetful(ScriptedProvider):
        async def send(self, jobs: Any, settle: Any) -> None:
            if jobs[0].tenant_id == "other":
                raise RuntimeError("a bug")

    await mesh.publish(make_job())
    await mesh.worker(Forgetful(), policy=RetryPolicy(unknown="keep"))
    await mesh.until("UNKNOWN")
    await mesh.publish(make_job(tenant_id="other"))
    await mesh.until("UNKNOWN", "UNKNOWN")
    reasons = [event.reason for event in await mesh.events()]
    assert reasons == ["unsettled", "provider_error"]


async def test_what_came_in_since_the_decision_stops_a_delivery(mesh: Any) -> None:
    jobs = cancelled, suppressed, expired = make_job(), make_job(), make_job()
    await mesh.redis.set(cancelled_key("demo", cancelled.notification_id), 1)
    key = suppressed_key("demo", "push", suppressed.target.address)
    await mesh.redis.set(key, 1)
    expired.expires_time.FromDatetime(datetime.now(UTC) - timedelta(seconds=1))
    provider = ScriptedProvider()
    await mesh.publish(*jobs)
    await mesh.worker(provider)
    kinds = await mesh.until("CANCELLED", "SUPPRESSED", "EXPIRED")
    assert (len(kinds), provider.sent) == (3, [])


async def test_a_retry_after_the_expiry_comes_back_to_expire(mesh: Any) -> None:
    job = make_job()
    job.expires_time.FromDatetime(datetime.now(UTC) + timedelta(seconds=1))
    provider = ScriptedProvider(
        script=lambda _: Outcome.retry("rate_limited", after=timedelta(minutes=5))
    )
    await mesh.publish(job)
    await mesh.worker(provider)
    assert await mesh.until("EXPIRED") == ["RETRYING", "EXPIRED"]
    assert len(provider.sent) == 1


async def test_duplicates_are_folded_wherever_they_stand(mesh: Any) -> None:
    job = make_job()
    provider = ScriptedProvider()
    await mesh.publish(job, job)
    await mesh.publish(job)
    await mesh.worker(provider)
    # Copies that wait for the same lease are one schedule, so they fold once or twice.
    kinds = await mesh.until("SENT", "FOLDED")
    assert (kinds.count("SENT"), len(provider.sent)) == (1, 1)


async def test_a_crash_before_the_provider_s_accept_loses_nothing(mesh: Any) -> None:
    stuck, healthy = ScriptedProvider(), ScriptedProvider()
    stuck.gate.clear()
    await mesh.publish(make_job())
    abandoned = await mesh.worker(stuck)
    await wait_until(lambda: stuck.offered)
    await abandoned.crash()
    await mesh.worker(healthy)
    await mesh.until("SENT")
    assert (len(stuck.sent), len(healthy.sent)) == (0, 1)


async def test_a_crash_after_the_provider_s_accept_doubles_and_is_told(
    mesh: Any,
) -> None:
    dying, healthy = ScriptedProvider(), ScriptedProvider()
    dying.answers = False
    await mesh.publish(make_job())
    abandoned = await mesh.worker(dying)
    await wait_until(lambda: dying.sent)
    await abandoned.crash()
    await mesh.worker(healthy)
    await mesh.until("SENT")
    [sent] = [e for e in await mesh.events() if e.kind == EVENT_KIND_SENT]
    assert sent.reason == "possible_duplicate"
    assert (len(dying.sent), len(healthy.sent)) == (1, 1)


async def test_a_job_that_another_has_does_not_hold_its_chunk(mesh: Any) -> None:
    taken = make_job()
    await mesh.claims().claim([Ask(taken, "another", False)])
    provider = ScriptedProvider()
    await mesh.publish(taken, make_job(), make_job())
    await mesh.worker(provider)
    await mesh.until("SENT", "SENT")
    assert len(provider.sent) == 2
    await mesh.until("SENT", "SENT", "SENT")
    assert [job.delivery_id for job in provider.sent].count(taken.delivery_id) == 1


async def test_a_long_call_keeps_its_leases(mesh: Any) -> None:
    provider = ScriptedProvider()
    provider.gate.clear()
    job = make_job()
    await mesh.publish(job)
    running = await mesh.worker(provider, lease=timedelta(milliseconds=300))
    keeping = asyncio.create_task(running.worker.keep_leases())
    await wait_until(lambda: provider.offered)
    started = asyncio.get_running_loop().time()
    claims = mesh.claims()
    while asyncio.get_running_loop().time() < started + 1:
        [claim] = await claims.claim([Ask(job, "another", False)])
        assert claim.state.name == "LEASED"
        await asyncio.sleep(0.05)
    provider.gate.set()
    await mesh.until("SENT")
    keeping.cancel()


async def test_failures_are_told_in_the_name_of_their_tenant(mesh: Any) -> None:
    told: list[Any] = []

    async def on_failed(failures: Any) -> None:
        told.append((current_tenant(), [job.user_id for job, _ in failures]))
        assert all(o.suppress == "unregistered" for _, o in failures)

    failed = Outcome.failed("unregistered_token", "404", suppress="unregistered")
    await mesh.publish(make_job(), make_job(), make_job(tenant_id="other"))
    await mesh.worker(ScriptedProvider(script=lambda _: failed), on_failed=on_failed)
    await mesh.until("FAILED", "FAILED", "FAILED")
    assert sorted(told) == [("demo", ["ada", "ada"]), ("other", ["ada"])]


async def test_a_failure_is_told_later_where_that_does_not_work_now(mesh: Any) -> None:
    calls: list[Any] = []

    async def on_failed(failures: Any) -> None:
        calls.extend(failures)
        if len(calls) < 3:
            raise UnavailableError("recipients is down")

    job = make_job()
    failed = Outcome.failed("invalid_address", "550 5.1.1", suppress="bounce")
    provider = ScriptedProvider(script=lambda _: failed)
    await mesh.publish(job)
    await mesh.worker(provider, on_failed=on_failed)
    await mesh.until("FAILED")
    await wait_until(lambda: len(calls) == 3)
    assert {(j.delivery_id, o.suppress, o.provider_code) for j, o in calls} == {
        (job.delivery_id, "bounce", "550 5.1.1")
    }
    assert len(provider.sent) == 1


async def test_garbage_goes_to_the_dead_letters_and_its_neighbours_are_sent(
    mesh: Any,
) -> None:
    publish = mesh.streams.publisher.publish
    await publish("work.push.high", b"\xff\xff", message_id="bad")
    await mesh.publish(make_job())
    await mesh.worker(ScriptedProvider())
    await mesh.until("SENT")
    [stored] = (await mesh.streams.dead_letters.page()).letters
    assert stored.letter.reason == "undecodable"


async def test_a_sampled_job_has_spans_around_its_provider_call(mesh: Any) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with capture_spans() as spans:
        await mesh.publish(
            make_job(trace_parent=parent),
            make_job(trace_parent=parent[:-1] + "0"),
            make_job(),
        )
        await mesh.worker(ScriptedProvider("fcm"))
        await mesh.until("SENT", "SENT", "SENT")
        deliver, send = spans.named("deliver push"), spans.named("fcm send")
    assert f"{deliver.context.trace_id:032x}" == parent[3:35]
    assert f"{deliver.parent.span_id:016x}" == parent[36:52]
    assert send.parent.span_id == deliver.context.span_id
