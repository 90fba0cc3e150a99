from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from clarion.api.event.v1.work_pb2 import IntakeChunk, IntakeItem
from clarion.api.router.v1.schedule_service_pb2 import (
    DeleteScheduleRequest,
    GetScheduleRequest,
    ListSchedulesRequest,
    PutScheduleRequest,
    Schedule,
)
from clarion.api.router.v1.schedule_service_pb2_grpc import ScheduleServiceStub
from clarion.client.embedded.servers import PostgresServer
from clarion.router.admission import AdmissionLimits
from clarion.router.consumers import IntakeHandler
from clarion.router.notification_types import BuiltInTypes
from clarion.router.schedules.firing import Firing
from clarion.router.schedules.keeping import Schedules
from clarion.router.schedules.planning import Planner
from clarion.router.schedules.table import InMemoryScheduleTable
from clarion.router.waits import Waits
from clarion.runtime.breaker import Breaker
from clarion.runtime.caller import Caller
from clarion.runtime.clock import SystemClock
from clarion.runtime.jetstream import Consumer, Streams
from clarion.runtime.migrations import migrate, migrations_of
from clarion.runtime.streams import work_subject
from clarion.runtime.testing import wait_until
from clarion.runtime.testing.stored import messages_of

pytestmark = pytest.mark.integration


@pytest.fixture
async def own_postgres(tmp_path: Path) -> AsyncIterator[Any]:
    """A Postgres that a test may stop."""
    async with PostgresServer(tmp_path / "postgres") as server:
        await asyncio.to_thread(migrate, server.url, "router", migrations_of("router"))
        yield server


@dataclass
class Client:
    """ScheduleService, and what waits on the stream for a tenant."""

    running: Any

    @property
    def stub(self) -> Any:
        channel = self.running.harness.internal(self.running.tenant)
        return ScheduleServiceStub(channel)

    async def put(self, schedule_id: str, schedule: Schedule) -> Schedule:
        request = PutScheduleRequest(schedule_id=schedule_id, schedule=schedule)
        return (await self.stub.PutSchedule(request)).schedule

    async def get(self, schedule_id: str) -> Schedule:
        request = GetScheduleRequest(schedule_id=schedule_id)
        return (await self.stub.GetSchedule(request)).schedule

    async def delete(self, schedule_id: str) -> bool:
        request = DeleteScheduleRequest(schedule_id=schedule_id)
        return (await self.stub.DeleteSchedule(request)).deleted

    async def waiting(self) -> list[tuple[str, IntakeItem]]:
        """Each occurrence that waits, with the header that says when."""
        found = []
        subject = f"later.cron.{self.running.tenant}.>"
        async for message in messages_of(self.running.streams, "SCHED", subject):
            (item,) = IntakeChunk.FromString(message.data).items
            found.append((message.headers["Nats-Schedule"], item))
        return found

    async def next_after(self, item: IntakeItem) -> tuple[str, IntakeItem]:
        """What waits once the one that fired is planned for."""
        async with asyncio.timeout(10):
            while True:
                ((when, found),) = await self.waiting()
                if found.notification_id != item.notification_id:
                    return when, found
                await asyncio.sleep(0.05)

    async def fire(self, item: IntakeItem) -> None:
        """What the stream does at its time, done now."""
        chunk = IntakeChunk(items=[item]).SerializeToString()
        await self.running.streams.publisher.publish(
            work_subject("intake", "medium"), chunk, message_id=item.notification_id
        )

    async def purge(self) -> None:
        await self.running.streams.scheduler.cancel(
            f"later.cron.{self.running.tenant}.*"
        )


@pytest.fixture
def daily(notify: Any) -> Schedule:
    notification = notify(channels=["push"], title="Good morning")
    return Schedule(
        notification=notification, cron="30 7 * * *", time_zone="Europe/Berlin"
    )


async def test_a_schedule_is_kept_planned_listed_and_deleted(
    router: Any, daily: Schedule
) -> None:
    client = Client(router)
    stored = await client.put("morning.news", daily)
    assert stored == await client.get("morning.news")
    assert (stored.cron, stored.time_zone) == ("30 7 * * *", "Europe/Berlin")
    next_time = stored.next_time.ToDatetime(UTC)
    assert timedelta(0) < next_time - datetime.now(UTC) <= timedelta(days=1, hours=1)
    ((when, item),) = await client.waiting()
    assert when == f"@at {next_time:%Y-%m-%dT%H:%M:%S}.000Z"
    assert item.notification.title == "Good morning"
    assert item.recurrence.occurrence_time == stored.next_time

    for name in ("a", "b", "c"):
        await client.put(name, daily)
    request = ListSchedulesRequest(page_size=3)
    first = await client.stub.ListSchedules(request)
    request.page_token = first.next_page_token
    second = await client.stub.ListSchedules(request)
    pages = [[s.schedule_id for s in page.schedules] for page in (first, second)]
    assert pages == [["a", "b", "c"], ["morning.news"]]
    assert not second.next_page_token

    assert await client.delete("morning.news") is True
    assert await client.delete("morning.news") is False
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await client.get("morning.news")
    assert missing.value.code() is grpc.StatusCode.NOT_FOUND
    assert len(await client.waiting()) == 3


async def test_putting_again_replaces_what_was_planned(
    router: Any, daily: Schedule
) -> None:
    client = Client(router)
    await client.put("d", daily)
    daily.cron = "0 0 1 1 *"
    await client.put("d", daily)
    ((when, _),) = await client.waiting()
    assert "-12-31T23:00:00.000Z" in when


async def test_a_line_that_is_none_is_refused_by_the_service(
    router: Any, daily: Schedule
) -> None:
    daily.cron = "0 0 30 2 *"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await Client(router).put("d", daily)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "schedule.cron" in (refused.value.details() or "")


async def test_what_fires_is_sent_and_the_next_one_waits(
    router: Any, daily: Schedule
) -> None:
    client = Client(router)
    await client.put("d", daily)
    ((first, item),) = await client.waiting()
    await client.fire(item)
    jobs = await router.until(router.jobs, 2, 5)
    assert {job.notification_id for job in jobs} == {item.notification_id}
    second, _ = await client.next_after(item)
    assert second > first


async def test_what_fires_after_it_was_deleted_is_not_sent(
    router: Any, daily: Schedule
) -> None:
    client = Client(router)
    await client.put("gone", daily)
    ((_, gone),) = await client.waiting()
    await client.delete("gone")
    await client.put("kept", daily)
    ((_, kept),) = await client.waiting()
    await client.fire(gone)
    await client.fire(kept)
    jobs = await router.until(router.jobs, 2, 5)
    assert {job.notification_id for job in jobs} == {kept.notification_id}
    assert len(await client.waiting()) == 1


async def test_without_postgres_it_fires_and_all_else_goes_on(
    start: Any, own_postgres: Any, daily: Schedule
) -> None:
    async with start(postgres_url=own_postgres.url) as router:
        client = Client(router)
        await client.put("d", daily)
        ((first, item),) = await client.waiting()
        await own_postgres.stop()
        await client.fire(item)
        await router.until(router.jobs, 2, 10)
        second, _ = await client.next_after(item)
        assert second > first
        await router.service.health.look()
        assert router.harness.health.serving
        with pytest.raises(grpc.aio.AioRpcError) as down:
            await client.put("other", daily)
        assert down.value.code() is grpc.StatusCode.UNAVAILABLE
        assert len(await client.waiting()) == 1


async def test_a_router_that_starts_repairs_what_the_stream_lost(
    start: Any, daily: Schedule
) -> None:
    async with start() as first:
        client = Client(first)
        await client.put("d", daily)
        await client.put("gone", daily)
        await client.delete("gone")
        before = of("d", await client.waiting())
        async with asyncio.timeout(10):
            # The first router compares as well when it starts.
            while await client.waiting():
                await client.purge()
    async with start() as second:
        second.tenant = first.tenant
        again = Client(second)
        found = await second.until(again.waiting, 1, 5)
        assert of("d", found) == before
        assert len(before) == 1


def of(
    schedule_id: str, found: Sequence[tuple[str, IntakeItem]]
) -> list[tuple[str, IntakeItem]]:
    return [one for one in found if one[1].recurrence.schedule_id == schedule_id]


class Quick:
    """A clock on which a minute takes a second; the stream keeps its own time."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._start = datetime.now(UTC)
        self._base = datetime(2027, 3, 27, 0, 0, 30, tzinfo=UTC)

    def now(self) -> datetime:
        return self._base + (datetime.now(UTC) - self._start) * 60

    def monotonic(self) -> float:
        return SystemClock().monotonic()

    async def schedule(self, subject: str, *, due: datetime, **more: Any) -> None:
        real = self._start + (due - self._base) / 60
        await self._streams.scheduler.schedule(subject, due=real, **more)

    async def cancel(self, subject: str) -> int:
        return await self._streams.scheduler.cancel(subject)


class Taken:
    def __init__(self) -> None:
        self.items: list[IntakeItem] = []

    async def route(self, items: Any) -> None:
        self.items += items

    def minutes(self, schedule_id: str) -> list[int]:
        return [
            item.accepted_time.ToDatetime(UTC).minute
            for item in self.items
            if item.recurrence.schedule_id == schedule_id
        ]


class Quickly:
    """Schedules on a real stream and the quick clock."""

    def __init__(self, streams: Streams, neighbours: Any) -> None:
        self._streams = streams
        self.clock = Quick(streams)
        self._table = InMemoryScheduleTable()
        self._planner = Planner(neighbours, self.clock, BuiltInTypes())
        limits = AdmissionLimits(("push",), 65_536, timedelta(days=1))
        self.schedules = Schedules(
            self._table, self._planner, limits, self.clock, BuiltInTypes()
        )

    async def put(self, schedule_id: str, schedule: Schedule) -> None:
        caller = Caller("demo", "key-1", frozenset({"*"}))
        await self.schedules.put(schedule_id, schedule, caller)

    @asynccontextmanager
    async def worker(self, routes: Any) -> AsyncIterator[None]:
        breaker = Breaker(
            "postgres", timedelta(seconds=1), timedelta(seconds=5), self.clock
        )
        firing = Firing(routes, self._table, self._planner, breaker, self.clock)
        consumer = Consumer(
            self._streams,
            stream="SCHED",
            durable="intake-medium",
            handle=IntakeHandler(firing, self._streams.publisher, Waits(SystemClock())),
        )
        await consumer.start()
        yield
        await consumer.stop(timedelta(0))


@pytest.fixture
async def quickly(own_nats: Any, neighbours: Any) -> AsyncIterator[Quickly]:
    streams = await Streams.connect(own_nats.url, name="test")
    yield Quickly(streams, neighbours)
    await streams.close()


@pytest.fixture
def every_minute(notify: Any) -> Schedule:
    return Schedule(notification=notify(), cron="* * * * *", time_zone="UTC")


async def test_the_stream_fires_every_minute_of_it_and_none_after_a_delete(
    quickly: Quickly, every_minute: Schedule
) -> None:
    taken = Taken()
    async with quickly.worker(taken):
        for name in ("kept", "deleted", "changed"):
            await quickly.put(name, every_minute)
        await wait_until(lambda: len(taken.minutes("kept")) >= 2, timeout=5)
        await quickly.schedules.delete("demo", "deleted")
        every_minute.cron = "0 0 1 1 *"
        await quickly.put("changed", every_minute)
        until = quickly.clock.now().minute
        await wait_until(lambda: len(taken.minutes("kept")) >= until + 3, timeout=8)
    assert taken.minutes("kept")[: until + 3] == list(range(1, until + 4))
    assert max(taken.minutes("deleted")) <= until
    assert max(taken.minutes("changed")) <= until


class Stuck(Taken):
    async def route(self, items: Any) -> None:
        await super().route(items)
        await asyncio.Event().wait()


async def test_an_occurrence_whose_worker_is_abandoned_is_done_by_the_next(
    quickly: Quickly, every_minute: Schedule
) -> None:
    stuck, taken = Stuck(), Taken()
    await quickly.put("d", every_minute)
    async with quickly.worker(stuck):
        await wait_until(lambda: stuck.items, timeout=5)
    async with quickly.worker(taken):
        await wait_until(lambda: len(set(taken.minutes("d"))) >= 3, timeout=8)
    first = stuck.items[0].notification_id
    assert first in {item.notification_id for item in taken.items}
    assert sorted(set(taken.minutes("d")))[:3] == [1, 2, 3]
    ids = {item.notification_id for item in taken.items}
    assert len(ids) == len(set(taken.minutes("d")))
