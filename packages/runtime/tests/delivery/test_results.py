from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.api.event.v1 import notification_event_pb2 as event_pb
from clarion.runtime import delivery
from clarion.runtime.delivery.attempts import RetryPolicy
from clarion.runtime.delivery.claims import Claim, ClaimState, Mark
from clarion.runtime.delivery.dead_letter import InMemoryLetterBox
from clarion.runtime.delivery.entry import Entry, Ticket
from clarion.runtime.delivery.events import (
    Past,
    add_events,
    encoded,
    recalled,
    remembered,
)
from clarion.runtime.delivery.follow_ups import FAILED, HEADER, MOST_TRIES, FollowUps
from clarion.runtime.delivery.in_memory import make_job
from clarion.runtime.delivery.lanes import JobSlots
from clarion.runtime.delivery.outcome import Outcome, OutcomeKind
from clarion.runtime.delivery.provider_health import ProviderHealth
from clarion.runtime.delivery.recorder import Recorder
from clarion.runtime.errors import UnavailableError
from clarion.runtime.jetstream import (
    GroupPublisher,
    InMemoryPublisher,
    InMemoryScheduler,
    PoisonError,
)
from clarion.runtime.testing import FakeClock

NOW = datetime(2026, 11, 22, 12, 0, 1, 500_000, tzinfo=UTC)


class Marks:
    """Records marks; fails while ``error`` is set."""

    def __init__(self) -> None:
        self.written: list[Mark] = []
        self.error: Exception | None = None

    async def settle(self, marks: Any) -> None:
        if self.error is not None:
            raise self.error
        self.written += marks


def entry(outcome: Outcome | None, state: ClaimState = ClaimState.CLAIMED) -> Entry:
    made = Entry(make_job(), "w:1:1:0", "high")
    made.claim = Claim(state)
    made.ticket = Ticket(1)
    made.at = NOW
    made.provider = "fcm"
    made.outcome = outcome
    return made


def _entry_of(
    id: str,
    text: str,
    outcome: Outcome,
    state: ClaimState,
    at: datetime,
    accepted: datetime | None,
    latency: timedelta | None,
) -> Entry:
    job = make_job()
    made = Entry(job, "w:1:1:0", "high")
    made.claim, made.outcome = Claim(state), outcome
    job.delivery_id, job.notification_id, job.user_id = id, id, text
    job.tenant_id, job.type, made.provider = text, text, text
    made.at, made.latency = at, latency
    job.ClearField("accepted_time")
    if accepted is not None:
        job.accepted_time.FromDatetime(accepted)
    return made


def _bytes_of(event: event_pb.NotificationEvent) -> bytes:
    return event.SerializeToString(deterministic=True)


class Bench:
    """A recorder on doubles."""

    def __init__(self, policy: RetryPolicy | None = None) -> None:
        self.publisher = InMemoryPublisher()
        self.scheduler = InMemoryScheduler()
        self.letters = InMemoryLetterBox()
        self.marks = Marks()
        sink: GroupPublisher[bytes] = GroupPublisher(
            self.publisher, "events.push", b"".join
        )
        self.recorder = Recorder(
            "push",
            marks=self.marks,
            event_sink=sink,
            scheduler=self.scheduler,
            letters=self.letters,
            policy=policy or RetryPolicy(),
            clock=FakeClock(),
        )

    def kinds(self) -> list[str]:
        return [
            event_pb.EventKind.Name(event.kind)[11:]
            for message in self.publisher.published
            for event in event_pb.EventChunk.FromString(message.body).events
        ]


async def test_results_that_come_together_share_one_publish() -> None:
    bench = Bench()
    entries = [entry(Outcome.sent("m")) for _ in range(100)]
    for each in entries:
        bench.recorder.add(each)
    for each in entries:
        await each.ticket.done
    assert len(bench.publisher.published) == 1
    assert bench.kinds() == ["SENT"] * 100


@pytest.mark.parametrize("part", ["marks", "scheduler", "publisher", "letters"])
async def test_results_are_kept_until_every_part_is_stored(part: str) -> None:
    bench = Bench(RetryPolicy(waits=()))
    retried = Bench()
    for each, outcome in (
        (bench, Outcome.sent("m")),
        (bench, Outcome.retry("x")),
        (retried, Outcome.retry("x")),
    ):
        double = getattr(each, part)
        double.error = UnavailableError("down")
        made = entry(outcome)
        each.recorder.add(made)
        await asyncio.sleep(0.01)
        double.error = None
        async with asyncio.timeout(5):
            await made.ticket.done
    assert sorted(bench.kinds()) == ["DEAD_LETTERED", "SENT"]
    assert len(bench.letters.letters) == 1
    assert len(retried.scheduler.scheduled) == 1


async def test_a_fault_that_waiting_does_not_cure_fails_the_call() -> None:
    bench = Bench()
    bench.scheduler.error = RuntimeError("a bug")
    made = entry(Outcome.retry("x"))
    bench.recorder.add(made)
    with pytest.raises(RuntimeError):
        await made.ticket.done


async def test_an_entry_that_cannot_be_stored_does_not_take_others_with_it() -> None:
    bench = Bench()
    bad, good, retried = (
        entry(Outcome.retry("x")),
        entry(Outcome.sent("m")),
        entry(Outcome.retry("x")),
    )
    bad.job.tenant_id = ""
    for each in (bad, good, retried):
        bench.recorder.add(each)
    await good.ticket.done
    await retried.ticket.done
    with pytest.raises(ValueError, match="empty"):
        await bad.ticket.done
    assert len(bench.scheduler.scheduled) == 1


async def test_the_claim_of_a_retry_is_handed_on_only_when_it_is_stored() -> None:
    bench = Bench()
    bench.scheduler.error = UnavailableError("down")
    made = entry(Outcome.retry("rate_limited", after=timedelta(minutes=3)))
    bench.recorder.add(made)
    await asyncio.sleep(0.01)
    assert bench.marks.written == []
    bench.scheduler.error = None
    async with asyncio.timeout(5):
        await made.ticket.done
    [scheduled] = bench.scheduler.scheduled.values()
    assert scheduled.target == "due.push.high"
    assert scheduled.due >= NOW + timedelta(minutes=3)
    assert [mark.value for mark in bench.marks.written] == [b"W2"]


async def test_an_exhausted_unknown_is_told_as_both() -> None:
    bench = Bench(RetryPolicy(waits=()))
    made = entry(Outcome.unknown("timeout"))
    bench.recorder.add(made)
    await made.ticket.done
    assert bench.kinds() == ["UNKNOWN", "DEAD_LETTERED"]


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome.sent("projects/x/messages/0:1%2"),
        Outcome.sent(),
        Outcome.failed("unregistered_token", "404 \x1f x", "unregistered"),
        Outcome.unknown("timeout"),
    ],
)
async def test_a_done_mark_remembers_the_end(outcome: Outcome) -> None:
    made = entry(outcome)
    past = recalled(remembered(made))
    code = outcome.provider_code.replace("\x1f", " ")
    kept = Outcome(outcome.kind, outcome.reason, outcome.provider_message_id, code)
    assert past == Past(kept, "fcm", 1, NOW)


async def test_an_end_told_again_has_the_same_event_id() -> None:
    first = entry(Outcome.sent("m-1"))
    again = Entry(first.job, "w:1:2:0", "high")
    again.claim = Claim(ClaimState.DONE, outcome=remembered(first))
    again.at = NOW + timedelta(minutes=1)
    chunk = event_pb.EventChunk()
    add_events(chunk, first)
    add_events(chunk, again)
    sent, repeated, folded = chunk.events
    assert sent.event_id == repeated.event_id
    assert sent.occurred_time == repeated.occurred_time
    assert folded.kind == event_pb.EVENT_KIND_FOLDED
    assert folded.attempt.provider_message_id == "m-1"


_texts = st.text(max_size=40)
_ids = st.text("0123456789abcdef-", min_size=1, max_size=150)
_instants = st.datetimes(
    datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)
)
_outcomes = st.builds(Outcome.sent, _texts) | st.builds(
    Outcome, st.sampled_from(OutcomeKind), _texts, _texts, _texts
)


@given(
    st.lists(
        st.builds(
            _entry_of,
            _ids,
            _texts,
            _outcomes,
            st.sampled_from([ClaimState.CLAIMED, ClaimState.TAKEN_OVER]),
            _instants,
            st.none() | _instants,
            st.none() | st.timedeltas(timedelta(0), timedelta(days=2)),
        ),
        max_size=5,
    )
)
def test_events_are_the_same_however_they_are_encoded(entries: list[Entry]) -> None:
    chunk = event_pb.EventChunk()
    for each in entries:
        add_events(chunk, each)
    fast = event_pb.EventChunk.FromString(encoded(entries))
    assert sorted(fast.events, key=_bytes_of) == sorted(chunk.events, key=_bytes_of)


async def test_attempts_have_event_ids_of_their_own() -> None:
    made = entry(Outcome.retry("x"))
    chunk = event_pb.EventChunk()
    add_events(chunk, made)
    made.attempt = 2
    add_events(chunk, made)
    assert chunk.events[0].event_id != chunk.events[1].event_id


async def test_slots_are_given_in_order_and_a_large_call_gets_its_turn() -> None:
    slots = JobSlots(10)
    await slots.take(8)
    large = asyncio.create_task(slots.take(25))
    small = asyncio.create_task(slots.take(1))
    await asyncio.sleep(0)
    assert not large.done()
    slots.give_back(8)
    await large
    assert not small.done()
    slots.give_back(25)
    await small
    assert slots.taken == 1


async def test_parts_that_wait_for_slots_have_turns() -> None:
    slots = JobSlots(10)
    await slots.take(10)
    order: list[str] = []

    async def take(part: str) -> None:
        await slots.take(10, part)
        order.append(part)
        slots.give_back(10)

    calls = [asyncio.create_task(take(part)) for part in "aaaaaabbc"]
    await asyncio.sleep(0)
    slots.give_back(10)
    await asyncio.gather(*calls)
    assert order == [*"abcabaaaa"]
    assert slots.taken == 0


async def test_a_cancelled_wait_takes_no_slot() -> None:
    slots = JobSlots(1)
    await slots.take(1)
    waiting = asyncio.create_task(slots.take(1))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    slots.give_back(1)
    assert slots.taken == 0


STATES = ((0, 100, "healthy"), (5, 95, "degraded"), (5, 5, "down"), (1, 0, "degraded"))


@pytest.mark.parametrize(("bad", "good", "state"), STATES)
def test_a_provider_is_judged_by_its_own_faults(
    bad: int, good: int, state: str
) -> None:
    health = ProviderHealth(FakeClock())
    for _ in range(bad):
        health.record(OutcomeKind.RETRY, timedelta(seconds=1))
    for _ in range(good):
        health.record(OutcomeKind.SENT, timedelta(seconds=1))
    assert health.state().state == state


def test_dead_addresses_are_errors_but_no_fault_of_the_provider() -> None:
    health = ProviderHealth(FakeClock())
    for _ in range(10):
        health.record(OutcomeKind.FAILED, timedelta(seconds=1))
    state = health.state()
    assert (state.state, state.error_rate) == ("healthy", 1.0)


def test_a_minute_later_all_is_forgotten() -> None:
    clock = FakeClock()
    health = ProviderHealth(clock)
    health.record(OutcomeKind.RETRY, timedelta(seconds=1))
    clock.advance(timedelta(seconds=59))
    assert health.state().error_rate == 1.0
    clock.advance(timedelta(seconds=1))
    assert health.state().error_rate == 0.0


def follow_ups(on_failed: Any) -> tuple[FollowUps, InMemoryScheduler, Any]:
    scheduler, letters = InMemoryScheduler(), InMemoryLetterBox()
    return (
        FollowUps("push", on_failed, scheduler, letters, FakeClock()),
        scheduler,
        letters,
    )


async def test_a_follow_up_is_dead_lettered_after_a_day_and_begins_again() -> None:
    async def on_failed(failures: Any) -> None:
        raise ValueError("refused")

    telling, scheduler, letters = follow_ups(on_failed)
    failed = Outcome.failed("unregistered_token", "404", "unregistered")
    await telling.tell([(make_job(), failed)], tries=MOST_TRIES - 2)
    [waiting] = scheduler.scheduled.values()
    await telling.resume(waiting.body, waiting.headers[HEADER])
    [letter] = letters.letters.values()
    assert letter.reason == FAILED
    scheduler.scheduled.clear()
    await telling.resume(letter.body, letter.headers[HEADER])
    assert len(scheduler.scheduled) == 1


@pytest.mark.parametrize("header", ["", "{", "[]", '{"reason": "x"}', "null"])
async def test_a_follow_up_that_cannot_be_read_is_poison(header: str) -> None:
    async def on_failed(failures: Any) -> None:
        return None

    telling, _, _ = follow_ups(on_failed)
    with pytest.raises(PoisonError):
        await telling.resume(b"", header)


def test_the_public_names_are_those_that_are_listed() -> None:
    listed = delivery.__all__
    assert sorted(listed) == list(listed)
    assert all(hasattr(delivery, name) for name in listed)
