from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from clarion.runtime.errors import UnavailableError
from clarion.runtime.jetstream import Consumer, PoisonError, Streams
from clarion.runtime.jetstream.declaration import declare_durable
from clarion.runtime.streams import DurableSpec, work_subject
from clarion.runtime.testing.waiting import wait_until

SUBJECT = work_subject("push", "high")
QUICK = timedelta(milliseconds=30)

pytestmark = pytest.mark.integration


class Recorder:
    """A handler that counts bodies, and an observer."""

    def __init__(self) -> None:
        self.handled_bodies: Counter[bytes] = Counter()
        self.deliveries: list[int] = []
        self.calls: list[int] = []
        self.ages: list[timedelta] = []
        self.holds = 0
        self.dead: list[BaseException] = []

    async def __call__(self, messages) -> None:
        self.calls.append(len(messages))
        self.handled_bodies.update(message.data for message in messages)
        self.deliveries.extend(message.deliveries for message in messages)

    def handled(self, durable, messages, queue_age) -> None:
        self.ages.append(queue_age)

    def failed(self, durable, messages, error) -> None:
        pass

    def held(self, durable, messages, error) -> None:
        self.holds += 1

    def dead_lettered(self, durable, error) -> None:
        self.dead.append(error)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


async def send(streams: Streams, count: int, start: int = 0) -> None:
    await asyncio.gather(
        *(
            streams.publisher.publish(SUBJECT, b"%d" % n, message_id=str(n))
            for n in range(start, start + count)
        )
    )


async def shorten_ack_wait(streams: Streams, ack_wait: timedelta) -> None:
    await declare_durable(
        streams.js, DurableSpec("push-high", "WORK", SUBJECT, ack_wait=ack_wait)
    )


async def test_every_message_is_handled_once_and_leaves_the_queue(
    streams, consume, recorder, emptied
):
    await send(streams, 500)
    consumer = await consume(recorder, observer=recorder)
    await wait_until(lambda: recorder.handled_bodies.total() == 500)
    await consumer.stop()

    assert set(recorder.handled_bodies.values()) == {1}
    assert set(recorder.deliveries) == {1}
    await emptied()
    assert min(recorder.ages) > timedelta(0)


async def test_what_waits_shares_a_call_and_what_is_alone_goes_alone(
    streams, consume, recorder
):
    await send(streams, 200)
    await consume(recorder, concurrency=1, max_messages=50, prefetch=200)
    await wait_until(lambda: recorder.handled_bodies.total() == 200)
    assert max(recorder.calls) == 50

    await send(streams, 1, start=200)
    await wait_until(lambda: recorder.handled_bodies.total() == 201)
    assert recorder.calls[-1] == 1


async def test_the_first_one_waits_for_others_where_it_is_told_to(
    streams, consume, recorder
):
    await consume(recorder, gather=timedelta(milliseconds=300))
    for number in range(3):
        await send(streams, 1, start=number)
    await wait_until(lambda: sum(recorder.calls) == 3)
    assert recorder.calls == [3]


async def test_calls_that_are_not_full_begin_one_after_another_where_it_is_told_to(
    streams, consume, recorder
):
    await consume(recorder, spacing=timedelta(milliseconds=300), max_messages=4)
    await send(streams, 1)
    await wait_until(lambda: recorder.calls == [1])
    for number in range(1, 4):
        await send(streams, 1, start=number)
    await wait_until(lambda: recorder.handled_bodies.total() == 4)
    assert recorder.calls == [1, 3]

    await send(streams, 9, start=4)
    await wait_until(lambda: recorder.handled_bodies.total() == 13)
    assert max(recorder.calls) == 4


async def test_a_message_finds_an_idle_worker_while_another_is_busy(streams, consume):
    busy: set[bytes] = set()
    both = asyncio.Event()

    async def handle(messages) -> None:
        busy.update(message.data for message in messages)
        if len(busy) == 3:
            both.set()
        await both.wait()

    await consume(handle, concurrency=3, max_messages=1)
    await send(streams, 3)
    await wait_until(both.is_set)


async def test_a_call_is_bounded_by_bytes(streams, consume, recorder):
    for number in range(6):
        await streams.publisher.publish(SUBJECT, bytes(400), message_id=str(number))
    await consume(recorder, concurrency=1, max_bytes=1000)
    await wait_until(lambda: recorder.handled_bodies.total() == 6)

    assert max(recorder.calls) == 2


async def test_who_wants_to_is_told_of_dead_letters_until_it_is_done(
    streams, consume, recorder, emptied
):
    told: list[bytes] = []

    async def handle(messages) -> None:
        raise PoisonError("broken", "it always is")

    async def given_up(message) -> None:
        told.append(message.data)
        if len(told) == 1:
            raise UnavailableError

    await send(streams, 1)
    await consume(handle, given_up=given_up, observer=recorder)
    await emptied()
    assert len(told) == 2
    assert len(set(told)) == 1
    assert len((await streams.dead_letters.page()).letters) == 1


async def test_no_more_than_concurrency_calls_run_at_once(streams, consume):
    running = peak = done = 0
    release = asyncio.Event()

    async def handle(messages) -> None:
        nonlocal running, peak, done
        running += 1
        peak = max(peak, running)
        await release.wait()
        running -= 1
        done += len(messages)

    await consume(handle, concurrency=3, max_messages=1)
    await send(streams, 10)
    await wait_until(lambda: running == 3)
    release.set()
    await wait_until(lambda: done == 10)

    assert peak == 3


async def test_messages_of_an_abandoned_consumer_come_again(
    streams, nats, consume, recorder
):
    await shorten_ack_wait(streams, timedelta(seconds=1))
    other = await Streams.connect(nats.url)

    async def hang(messages) -> None:
        await asyncio.Event().wait()

    abandoned = Consumer(other, stream="WORK", durable="push-high", handle=hang)
    await abandoned.start()
    await send(streams, 20)
    await wait_until(lambda: len(abandoned._holding) == 20)
    await other.nc.close()  # as a killed process: no nak, no heartbeat

    await consume(recorder)
    await wait_until(lambda: len(recorder.handled_bodies) == 20)

    assert set(recorder.handled_bodies.values()) == {1}
    assert set(recorder.deliveries) == {2}
    await abandoned.stop(timedelta(0))


async def test_stopping_finishes_what_runs_and_gives_the_rest_to_others(
    streams, consume, recorder, emptied
):
    second = Recorder()
    entered, release = asyncio.Event(), asyncio.Event()

    async def slow(messages) -> None:
        entered.set()
        await release.wait()
        await recorder(messages)

    await send(streams, 300)
    first = await consume(slow, concurrency=2, max_messages=10)
    await entered.wait()
    stopping = asyncio.create_task(first.stop(timedelta(seconds=10)))
    await wait_until(lambda: len(first._holding) <= 20)
    await consume(second)
    release.set()
    await stopping
    await wait_until(
        lambda: (recorder.handled_bodies + second.handled_bodies).total() == 300
    )

    assert set((recorder.handled_bodies + second.handled_bodies).values()) == {1}
    assert 0 < recorder.handled_bodies.total() <= 20
    await emptied()


async def test_a_call_above_the_drain_limit_is_cancelled_and_given_back(
    streams, consume, recorder
):
    entered = asyncio.Event()

    async def hang(messages) -> None:
        entered.set()
        await asyncio.Event().wait()

    await send(streams, 5)
    first = await consume(hang)
    await entered.wait()
    await first.stop(timedelta(milliseconds=50))

    await consume(recorder)
    await wait_until(lambda: len(recorder.handled_bodies) == 5)
    assert set(recorder.deliveries) == {2}


async def test_poison_is_isolated_and_dead_lettered_while_its_mates_pass_once(
    streams, consume, recorder, emptied
):
    async def handle(messages) -> None:
        if any(message.data == b"7" for message in messages):
            raise ZeroDivisionError("seven")
        await recorder(messages)

    await send(streams, 20)
    await consume(
        handle, concurrency=1, retry_first=QUICK, observer=recorder, give_up_at=3
    )
    await wait_until(lambda: recorder.dead)

    assert set(recorder.handled_bodies.values()) == {1}
    assert len(recorder.handled_bodies) == 19
    page = await streams.dead_letters.page()
    (letter,) = [stored.letter for stored in page.letters]
    assert letter.body == b"7"
    assert letter.reason == "unhandled_error"
    assert letter.detail == "ZeroDivisionError: seven"
    assert letter.deliveries == 3
    assert (letter.stage, letter.lane) == ("push", "high")
    assert letter.dead_letter_id == f"WORK:{letter.source_sequence}"
    await emptied()


async def test_a_handler_that_knows_its_poison_dead_letters_at_once(
    streams, consume, recorder
):
    async def handle(messages) -> None:
        raise PoisonError("not_a_chunk")

    await send(streams, 1)
    await consume(handle, observer=recorder)
    await wait_until(lambda: recorder.dead)

    (stored,) = (await streams.dead_letters.page()).letters
    assert stored.letter.reason == "not_a_chunk"
    assert stored.letter.deliveries == 1


async def test_transient_failure_holds_without_redelivery(
    streams, consume, recorder, emptied
):
    ack_wait = timedelta(seconds=1)
    await shorten_ack_wait(streams, ack_wait)
    loop = asyncio.get_running_loop()
    works_from = loop.time() + 2.5

    async def handle(messages) -> None:
        if loop.time() < works_from:
            raise UnavailableError("recipients is down")
        await recorder(messages)

    await send(streams, 30)
    await consume(
        handle, concurrency=2, max_messages=5, ack_wait=ack_wait, observer=recorder
    )
    await wait_until(lambda: recorder.handled_bodies.total() == 30, timeout=15)

    assert set(recorder.handled_bodies.values()) == {1}
    assert set(recorder.deliveries) == {1}
    assert recorder.holds > 2
    assert recorder.dead == []


async def test_held_messages_are_given_back_at_once_when_the_consumer_stops(
    streams, consume, recorder
):
    async def handle(messages) -> None:
        raise UnavailableError

    await send(streams, 5)
    first = await consume(handle, observer=recorder)
    await wait_until(lambda: recorder.holds)
    await asyncio.wait_for(first.stop(timedelta(seconds=10)), 2)

    await consume(recorder)
    await wait_until(lambda: len(recorder.handled_bodies) == 5)


async def test_something_cancelled_inside_a_handler_is_held_not_fatal(
    streams, consume, recorder
):
    calls = 0

    async def handle(messages) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise asyncio.CancelledError
        await recorder(messages)

    await send(streams, 1)
    await consume(handle)
    await wait_until(lambda: recorder.handled_bodies.total() == 1)


async def test_consuming_goes_on_after_the_server_was_killed(
    streams, nats, consume, recorder, emptied
):
    async def handle(messages) -> None:
        await asyncio.sleep(0.005)
        await recorder(messages)

    await shorten_ack_wait(streams, timedelta(seconds=2))
    await send(streams, 400)
    await consume(handle, max_messages=4, ack_wait=timedelta(seconds=2))
    await wait_until(lambda: recorder.handled_bodies.total() > 100)
    nats.kill()
    nats.start()
    await wait_until(lambda: len(recorder.handled_bodies) == 400, timeout=20)
    await send(streams, 50, start=400)
    await wait_until(lambda: len(recorder.handled_bodies) == 450, timeout=20)

    assert set(recorder.handled_bodies.values()) == {1}


async def test_what_is_in_hand_is_handled_once_when_the_server_forgets_it(
    streams, nats, consume, recorder, emptied
):
    entered, release = asyncio.Event(), asyncio.Event()

    async def handle(messages) -> None:
        entered.set()
        await release.wait()
        await recorder(messages)

    await send(streams, 5)
    await consume(handle)
    await entered.wait()
    nats.kill()
    nats.start()
    await send(streams, 5, start=5)
    release.set()
    await wait_until(lambda: len(recorder.handled_bodies) == 10, timeout=20)
    await emptied()

    assert set(recorder.handled_bodies.values()) == {1}


async def test_a_durable_that_appears_later_is_picked_up(streams, consume, recorder):
    await streams.js.request("CONSUMER.DELETE.WORK.push-high")
    await consume(recorder)
    await send(streams, 1)
    await shorten_ack_wait(streams, timedelta(seconds=30))

    await wait_until(lambda: recorder.handled_bodies.total() == 1)


async def test_waiting_for_a_consumer_ends_when_it_stops(streams, consume, recorder):
    consumer = await consume(recorder)
    waiting = asyncio.create_task(consumer.wait())
    await consumer.stop()

    await asyncio.wait_for(waiting, 1)


async def test_waiting_for_a_consumer_raises_what_killed_it(
    streams, consume, recorder, monkeypatch
):
    consumer = await consume(recorder)

    async def broken(batch) -> None:
        raise RuntimeError("a bug in the consumer")

    monkeypatch.setattr(consumer, "_settle", broken)
    await send(streams, 1)

    with pytest.raises(RuntimeError, match="a bug"):
        await asyncio.wait_for(consumer.wait(), 5)


class Busy(Recorder):
    """A recorder whose first call runs until it is told to end."""

    def __init__(self) -> None:
        super().__init__()
        self.end = asyncio.Event()

    async def __call__(self, messages) -> None:
        await super().__call__(messages)
        if len(self.calls) == 1:
            await self.end.wait()


async def test_little_that_comes_while_a_call_runs_shares_the_next(streams, consume):
    busy = Busy()
    consumer = await consume(busy, concurrency=2, patience=timedelta(seconds=30))
    await send(streams, 1)
    await wait_until(lambda: busy.calls == [1])
    await send(streams, 10, start=1)
    await wait_until(lambda: len(consumer._buffer) == 10)
    assert busy.calls == [1]
    busy.end.set()
    await wait_until(lambda: busy.handled_bodies.total() == 11)
    assert busy.calls == [1, 10]


async def test_what_lost_its_patience_does_not_wait_for_a_call(streams, consume):
    busy = Busy()
    consumer = await consume(busy, concurrency=2, patience=QUICK)
    await send(streams, 1)
    await wait_until(lambda: busy.calls == [1])
    await send(streams, 3, start=1)
    await wait_until(lambda: busy.handled_bodies.total() == 4)
    busy.end.set()
    await consumer.stop()
    assert set(busy.handled_bodies.values()) == {1}


@pytest.mark.parametrize("worth", [{"worth_bytes": 2}, {"max_messages": 2}])
async def test_what_is_worth_a_call_of_its_own_does_not_wait(streams, consume, worth):
    busy = Busy()
    await consume(busy, concurrency=2, patience=timedelta(seconds=30), **worth)
    await send(streams, 1)
    await wait_until(lambda: busy.calls == [1])
    await send(streams, 2, start=1)
    await wait_until(lambda: busy.handled_bodies.total() == 3)
    busy.end.set()


async def test_a_consumer_that_stops_gives_back_what_waits_for_a_call(
    streams, consume, recorder, emptied
):
    busy = Busy()
    consumer = await consume(busy, concurrency=2, patience=timedelta(seconds=30))
    await send(streams, 1)
    await wait_until(lambda: busy.calls == [1])
    await send(streams, 3, start=1)
    stopping = asyncio.create_task(consumer.stop())
    await wait_until(lambda: consumer._stopping.is_set())
    busy.end.set()
    await stopping
    assert busy.calls == [1]
    await consume(recorder)
    await wait_until(lambda: recorder.handled_bodies.total() == 3)
    await emptied()
