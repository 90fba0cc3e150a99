"""Collecting and sending: the table, and the use case that is killed at every step."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_CANCELLED,
    EVENT_KIND_DIGESTED,
    EVENT_KIND_EXPIRED,
    EVENT_KIND_SUPERSEDED,
    EventChunk,
)
from clarion.api.event.v1.work_pb2 import (
    DigestChunk,
    DigestFold,
    DigestStep,
    IntakeChunk,
    IntakeItem,
)
from clarion.router.cancelling import InMemoryCancelMarks
from clarion.router.collapsing import Collapsing, InMemoryLatest
from clarion.router.digests.collecting import Digests
from clarion.router.digests.in_memory import InMemoryDigestTable
from clarion.router.digests.postgres_table import PostgresDigestTable
from clarion.router.digests.table import Closing, DigestTable, Entry, Window
from clarion.router.digests.upkeep import Upkeep
from clarion.router.digests.windows import MOST_ITEMS
from clarion.runtime.errors import UnavailableError
from clarion.runtime.jetstream import InMemoryPublisher, InMemoryScheduler
from clarion.runtime.keys import latest_key
from clarion.runtime.postgres import open_pool
from clarion.runtime.testing import FakeClock


@pytest.fixture
def tenant() -> str:
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def fold(make_item: Any, tenant: str) -> Any:
    def make(
        seconds: float = 60, longest: float | None = None, **fields: Any
    ) -> DigestFold:
        expires = fields.pop("expires", None)
        item = make_item(fields.pop("tenant", tenant), **fields)
        made = DigestFold(
            item=item, channels=["push"], priority="medium", category="comments"
        )
        made.window.FromTimedelta(timedelta(seconds=seconds))
        if longest is not None:
            made.longest.FromTimedelta(timedelta(seconds=longest))
        if expires is not None:
            made.expires_time.FromDatetime(expires)
        return made

    return make


@pytest.fixture(params=["in memory", "postgres"])
async def table(request: Any, postgres: Any) -> AsyncIterator[DigestTable]:
    if request.param == "in memory":
        yield InMemoryDigestTable()
        return
    pool = await open_pool(postgres.url, "router")
    yield PostgresDigestTable(pool)
    await pool.close()


def entries(*folds: DigestFold) -> list[Entry]:
    return [Entry.of(fold) for fold in folds]


async def close(table: DigestTable, window_id: str, now: datetime) -> Any:
    return (await table.close([window_id], now)).get(window_id)


def ids(closing: Any) -> list[str]:
    return [fold.item.notification_id for fold in closing.folds]


async def test_a_table_collects_by_bucket_and_reads_in_order(
    table: DigestTable, fold: Any, clock: FakeClock
) -> None:
    now = clock.now()
    late, other = fold(), fold(user_id="bob")
    clock.advance(timedelta(seconds=-1))
    early = fold()
    collected = await table.collect(entries(late, other, early), now)
    place = collected.places[Entry.of(late).key]
    assert collected.places[Entry.of(early).key] == place
    assert len(collected.timers) == 2
    assert collected.timers[place.window_id] == place
    assert place.closes == now + timedelta(seconds=60)
    more = fold()
    again = await table.collect(entries(more), now + timedelta(seconds=59))
    assert again.places[Entry.of(more).key] == place
    assert not again.timers  # it is set, and nothing moved it

    window_id = place.window_id
    assert await close(table, window_id, now + timedelta(seconds=59)) == place
    closed = now + timedelta(seconds=60)
    closing = await close(table, window_id, closed)
    assert isinstance(closing, Closing)
    assert closing.closed == closed
    assert ids(closing) == [f.item.notification_id for f in (early, more, late)]
    # Read again it is the same, also later, until it is marked as sent.
    assert await close(table, window_id, closed + timedelta(hours=1)) == closing
    await table.sent([window_id], closed)
    assert await close(table, window_id, closed) is None
    assert await close(table, str(uuid.uuid4()), closed) is None


async def test_a_sliding_window_moves_up_to_its_cap(
    table: DigestTable, fold: Any, clock: FakeClock
) -> None:
    start = clock.now()
    closes = []
    for _ in range(4):
        one = fold(10, longest=25)
        collected = await table.collect(entries(one), clock.now())
        (window,) = collected.timers.values()
        closes.append((window.closes - start).total_seconds())
        clock.advance(timedelta(seconds=8))
    assert closes == [10, 18, 25, 25]
    assert len({window.window_id}) == 1


async def test_what_is_known_opens_no_window_and_sets_its_timer_again(
    table: DigestTable, fold: Any, clock: FakeClock
) -> None:
    one = fold()
    first = await table.collect(entries(one, one), clock.now())
    (window,) = first.timers.values()
    again = await table.collect(entries(one), clock.now())
    assert again == first
    clock.advance(timedelta(seconds=61))
    await close(table, window.window_id, clock.now())
    closed = await table.collect(entries(one), clock.now())
    assert set(closed.timers) == {window.window_id}
    await table.sent([window.window_id], clock.now())
    after = await table.collect(entries(one), clock.now())
    assert not after.timers
    assert after.places == first.places
    # Another decision about it, for channels that had been deferred, is another item.
    one.item.release = 1
    released = await table.collect(entries(one), clock.now())
    assert set(released.timers) != {window.window_id}


async def test_new_ones_go_to_a_new_window_once_it_is_over(
    table: DigestTable, fold: Any, clock: FakeClock
) -> None:
    old, new = fold(), fold()
    first = await table.collect(entries(old), clock.now())
    (window,) = first.timers.values()
    clock.advance(timedelta(seconds=60))
    second = await table.collect(entries(new), clock.now())
    assert second.places[Entry.of(new).key].window_id != window.window_id
    closing = await close(table, window.window_id, clock.now())
    assert isinstance(closing, Closing)
    assert ids(closing) == [old.item.notification_id]


async def test_a_window_that_is_full_is_due_at_once(
    table: DigestTable, fold: Any, clock: FakeClock
) -> None:
    many = [fold() for _ in range(2 * MOST_ITEMS + 5)]
    collected = await table.collect(entries(*many), clock.now())
    sizes = Counter(window.window_id for window in collected.places.values())
    assert sorted(sizes.values()) == [5, MOST_ITEMS, MOST_ITEMS]
    due = [w for w in collected.timers.values() if w.closes <= clock.now()]
    assert len(due) == 2
    for window in due:
        closing = await close(table, window.window_id, clock.now())
        assert isinstance(closing, Closing)
        assert len(closing.folds) == MOST_ITEMS


async def test_what_is_cancelled_is_taken_out_while_its_window_is_open(
    table: DigestTable, fold: Any, tenant: str, clock: FakeClock
) -> None:
    gone, kept = fold(), fold()
    collected = await table.collect(entries(gone, kept), clock.now())
    (window,) = collected.timers.values()
    id = gone.item.notification_id
    assert await table.remove("other", id) == 0
    assert await table.remove(tenant, id) == 1
    assert await table.remove(tenant, id) == 0
    await table.collect(entries(gone), clock.now())  # delivered again
    clock.advance(timedelta(seconds=60))
    closing = await close(table, window.window_id, clock.now())
    assert ids(closing) == [kept.item.notification_id]
    assert await table.remove(tenant, kept.item.notification_id) == 0


async def test_overdue_windows_are_found_and_old_ones_forgotten(
    table: DigestTable, fold: Any, tenant: str, clock: FakeClock
) -> None:
    open_, closed, sent = (fold(user_id=name) for name in ("a", "b", "c"))
    start = clock.now()
    collected = await table.collect(entries(open_, closed, sent), start)
    window_of = {
        one.item.notification.user_id: collected.places[Entry.of(one).key]
        for one in (open_, closed, sent)
    }
    clock.advance(timedelta(seconds=60))
    for name in ("b", "c"):
        await close(table, window_of[name].window_id, clock.now())
    await table.sent([window_of["c"].window_id], clock.now())

    async def overdue(before: datetime) -> set[Window]:
        found = await table.overdue(before, 10_000)
        return {window for window in found if window.tenant == tenant}

    assert await overdue(start + timedelta(seconds=60)) == set()
    late = start + timedelta(seconds=61)
    assert await overdue(late) == {window_of["a"], window_of["b"]}
    while await table.prune(clock.now(), 100):
        pass
    known = await table.collect(entries(sent), clock.now())
    assert known.places[Entry.of(sent).key] == window_of["c"]
    while await table.prune(clock.now() + timedelta(seconds=1), 100):
        pass
    forgotten = await table.collect(entries(sent), clock.now())
    assert forgotten.places[Entry.of(sent).key] != window_of["c"]
    assert len(await overdue(late)) == 2


async def test_workers_that_collect_at_once_put_each_into_one_window(
    table: DigestTable, fold: Any, clock: FakeClock
) -> None:
    users = [f"user-{number}" for number in range(7)]
    all_ = [fold(user_id=user) for user in users for _ in range(20)]
    # Each batch comes twice, in another order, to many workers in one millisecond.
    batches = [all_[start::14] for start in range(14)]
    batches += [batch[::-1] for batch in batches]
    results = await asyncio.gather(
        *(table.collect(entries(*batch), clock.now()) for batch in batches)
    )
    places: dict[Any, set[str]] = {}
    for result in results:
        for key, window in result.places.items():
            places.setdefault(key, set()).add(window.window_id)
    assert all(len(found) == 1 for found in places.values())
    windows = {next(iter(found)) for found in places.values()}
    assert len(windows) == len(users)
    clock.advance(timedelta(seconds=60))
    told: list[str] = []
    for window_id in windows:
        told += ids(await close(table, window_id, clock.now()))
    assert sorted(told) == sorted(one.item.notification_id for one in all_)


async def test_collecting_while_windows_close_loses_and_doubles_nothing(
    table: DigestTable, fold: Any, clock: FakeClock
) -> None:
    all_: list[DigestFold] = []
    told: list[str] = []
    windows: set[str] = set()

    async def collect() -> None:
        batch = [fold(1) for _ in range(5)]
        all_.extend(batch)
        for _ in range(2):
            windows.update((await table.collect(entries(*batch), clock.now())).timers)

    async def close_all() -> None:
        for window_id in list(windows):
            closing = await close(table, window_id, clock.now())
            if isinstance(closing, Closing) and window_id in windows:
                windows.discard(window_id)
                told.extend(ids(closing))
                await table.sent([window_id], clock.now())

    for _ in range(12):
        await asyncio.gather(collect(), close_all(), collect(), collect())
        clock.advance(timedelta(milliseconds=700))
    clock.advance(timedelta(seconds=2))
    await close_all()
    assert sorted(told) == sorted(one.item.notification_id for one in all_)


async def test_a_postgres_that_does_not_answer_is_unavailable(postgres: Any) -> None:
    pool = await open_pool(postgres.url, "not_migrated")
    with pytest.raises(UnavailableError):
        await PostgresDigestTable(pool).overdue(datetime.now(UTC), 1)
    await pool.close()


class KilledError(Exception):
    """The worker is gone."""


@dataclass
class Worker:
    """The use case on doubles; dies before the step that ``dies_at`` counts down to."""

    clock: FakeClock
    table: Any = field(default_factory=InMemoryDigestTable)
    publisher: InMemoryPublisher = field(default_factory=InMemoryPublisher)
    scheduler: InMemoryScheduler = field(default_factory=InMemoryScheduler)
    marks: InMemoryCancelMarks = field(default_factory=InMemoryCancelMarks)
    latest: InMemoryLatest = field(default_factory=InMemoryLatest)
    dies_at: int = -1
    died: int = 0

    def __post_init__(self) -> None:
        for owner, names in (
            (self.table, ("collect", "close", "sent")),
            (self.scheduler, ("schedule",)),
            (self.publisher, ("publish",)),
        ):
            for name in names:
                setattr(owner, name, self._mortal(getattr(owner, name)))

    def _mortal(self, step: Any) -> Any:
        async def run(*args: Any, **more: Any) -> Any:
            self.dies_at -= 1
            if self.dies_at == 0:
                self.died += 1
                raise KilledError
            return await step(*args, **more)

        return run

    @property
    def digests(self) -> Digests:
        return Digests(
            self.table,
            self.marks,
            Collapsing(self.latest),
            self.publisher,
            self.scheduler,
            self.clock,
        )

    async def take(self, *steps: DigestStep) -> None:
        """As the consumer: what is not done is delivered again."""
        while True:
            try:
                await self.digests.take(steps)
            except KilledError:
                continue
            return

    async def collect(self, *folds: DigestFold) -> None:
        await self.take(*(DigestStep(fold=fold) for fold in folds))

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))
        for fired in self.scheduler.fire(self.clock.now()):
            await self.take(*DigestChunk.FromString(fired.body).steps)

    @property
    def sent(self) -> list[IntakeItem]:
        return [
            item
            for message in self.publisher.published
            if message.subject.startswith("work.intake.")
            for item in IntakeChunk.FromString(message.body).items
        ]

    def told(self, kind: int) -> list[Any]:
        found = {
            event.event_id: event
            for message in self.publisher.on("events.router")
            for event in EventChunk.FromString(message.body).events
        }
        return [event for event in found.values() if event.kind == kind]


def held_by(item: IntakeItem) -> list[str]:
    return [one["notification_id"] for one in item.notification.data["items"]]


@pytest.fixture
def worker(clock: FakeClock) -> Worker:
    return Worker(clock)


async def test_five_become_one_message(worker: Worker, fold: Any) -> None:
    folds = [fold() for _ in range(5)]
    await worker.collect(*folds[:3])
    await worker.pass_time(30)
    await worker.collect(*folds[3:])
    await worker.pass_time(29)
    assert not worker.sent
    await worker.pass_time(1)
    (item,) = worker.sent
    assert sorted(held_by(item)) == sorted(f.item.notification_id for f in folds)
    told = worker.told(EVENT_KIND_DIGESTED)
    assert {event.notification_id for event in told} == set(held_by(item))
    assert {event.digested.digest_notification_id for event in told} == {
        item.notification_id
    }
    assert not worker.scheduler.scheduled


@pytest.mark.parametrize("step", range(1, 12))
async def test_a_worker_that_is_killed_at_any_step_loses_and_doubles_nothing(
    table: Any, clock: FakeClock, fold: Any, tenant: str, step: int
) -> None:
    worker = Worker(clock, table)
    folds = [fold() for _ in range(4)]
    worker.dies_at = step
    await worker.collect(*folds[:3])
    await worker.collect(folds[3])
    await worker.pass_time(61)
    sent = {item.notification_id: item for item in worker.sent}
    assert [*sent.values()] == worker.sent
    told = [id for item in sent.values() for id in held_by(item)]
    assert sorted(told) == sorted(one.item.notification_id for one in folds)
    assert len(worker.told(EVENT_KIND_DIGESTED)) == 4
    overdue = await table.overdue(clock.now(), 10_000)
    assert tenant not in {window.tenant for window in overdue}
    # Collected, timer set, told; collected, told; closed, published, marked as sent.
    assert worker.died == (step <= 8)


async def test_a_timer_that_fires_early_twice_and_late_sends_once(
    worker: Worker, fold: Any
) -> None:
    await worker.collect(fold(10, longest=60), fold(10, longest=60))
    (timer,) = worker.scheduler.scheduled.values()
    (step,) = DigestChunk.FromString(timer.body).steps
    worker.clock.advance(timedelta(seconds=9))
    await worker.collect(fold(10, longest=60))
    worker.scheduler.scheduled.clear()  # the later one is lost
    await worker.pass_time(1)
    await worker.take(step)
    assert not worker.sent
    (again,) = worker.scheduler.scheduled.values()
    assert again.due == worker.clock.now() + timedelta(seconds=9)
    assert again.message_id != timer.message_id
    await worker.pass_time(100)
    await worker.take(step, step)
    await worker.take(step)
    (item,) = worker.sent
    assert len(held_by(item)) == 3


async def test_a_lost_timer_is_repaired(worker: Worker, fold: Any) -> None:
    await worker.collect(fold())
    worker.scheduler.scheduled.clear()
    upkeep = Upkeep(worker.table, worker.digests, worker.clock)
    await worker.pass_time(61)
    assert await upkeep.look() == 0  # it may only be late
    await worker.pass_time(60)
    assert await upkeep.look() == 1
    await worker.pass_time(0)
    assert len(worker.sent) == 1
    await worker.pass_time(8 * 86_400)
    assert await upkeep.look() == 0
    assert not worker.table.windows


async def test_while_the_table_does_not_answer_all_of_it_waits(
    worker: Worker, fold: Any
) -> None:
    worker.table.error = UnavailableError("postgres does not answer")
    with pytest.raises(UnavailableError):
        await worker.collect(fold())
    assert not worker.publisher.published
    assert not worker.scheduler.scheduled


async def test_what_expired_or_was_superseded_is_left_out_and_told(
    worker: Worker, fold: Any, tenant: str
) -> None:
    soon = worker.clock.now() + timedelta(seconds=30)
    expired, old, new = fold(expires=soon), fold(collapse_key="k"), fold()
    name = latest_key(tenant, "ada", "k")
    worker.latest.places[name] = (2**60, "another")
    await worker.collect(expired, old, new)
    await worker.pass_time(60)
    (item,) = worker.sent
    assert item.digest.count == 1
    assert item.notification.title == new.item.notification.title
    (event,) = worker.told(EVENT_KIND_EXPIRED)
    assert (event.notification_id, event.channel, event.reason) == (
        expired.item.notification_id,
        "push",
        "expired",
    )
    (event,) = worker.told(EVENT_KIND_SUPERSEDED)
    assert event.notification_id == old.item.notification_id
    assert event.reason == "collapse_key"


async def test_a_cancel_that_came_first_is_honoured_and_an_empty_window_sends_nothing(
    worker: Worker, fold: Any, tenant: str
) -> None:
    one = fold()
    await worker.marks.begin(tenant, one.item.notification_id)
    await worker.collect(one)
    await worker.pass_time(60)
    assert not worker.sent
    (event,) = worker.told(EVENT_KIND_CANCELLED)
    assert event.notification_id == one.item.notification_id
    assert all(held.state == 2 for held in worker.table.windows.values())


async def test_without_the_marks_of_cancels_nothing_is_sent(
    worker: Worker, fold: Any
) -> None:
    await worker.collect(fold())
    worker.marks.error = UnavailableError("valkey does not answer")
    with pytest.raises(UnavailableError):
        await worker.pass_time(60)
    assert not worker.sent
    worker.marks.error = None
    (held,) = worker.table.windows.values()
    await worker.digests.close([held.window_id])
    assert len(worker.sent) == 1
