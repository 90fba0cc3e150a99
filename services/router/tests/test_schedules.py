from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clarion.api.event.v1.work_pb2 import IntakeChunk, IntakeItem
from clarion.api.router.v1.schedule_service_pb2 import Schedule
from clarion.router.admission import AdmissionLimits
from clarion.router.notification_types import BuiltInTypes
from clarion.router.schedules.firing import Firing
from clarion.router.schedules.keeping import Schedules
from clarion.router.schedules.planning import Planner
from clarion.router.schedules.reconciling import Reconciler
from clarion.router.schedules.table import (
    InMemoryScheduleTable,
    PostgresScheduleTable,
    ScheduleTable,
)
from clarion.runtime.breaker import Breaker
from clarion.runtime.caller import Caller
from clarion.runtime.errors import (
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from clarion.runtime.jetstream import InMemoryScheduler
from clarion.runtime.postgres import open_pool
from clarion.runtime.testing import FakeClock

CALLER = Caller("demo", "key-1", frozenset({"*"}))
LIMITS = AdmissionLimits(("push", "email"), 65_536, timedelta(days=1830))


class Waiting:
    def __init__(self, scheduler: InMemoryScheduler) -> None:
        self.scheduler = scheduler

    async def subjects(self) -> set[str]:
        return set(self.scheduler.scheduled)


class Taken:
    """Stands for the rest of the router."""

    def __init__(self) -> None:
        self.items: list[IntakeItem] = []
        self.error: Exception | None = None

    async def route(self, items: Any) -> None:
        if self.error is not None:
            raise self.error
        self.items += items

    @property
    def times(self) -> list[datetime]:
        return [item.accepted_time.ToDatetime(UTC) for item in self.items]


@dataclass
class Mesh:
    """The use cases of schedules on doubles."""

    clock: FakeClock
    scheduler: InMemoryScheduler
    table: InMemoryScheduleTable
    planner: Planner
    schedules: Schedules
    firing: Firing
    reconciler: Reconciler
    taken: Taken

    async def put(self, schedule_id: str, asked: Schedule) -> datetime | None:
        return (await self.schedules.put(schedule_id, asked, CALLER)).next

    def due(self) -> list[IntakeItem]:
        return [
            item
            for message in self.scheduler.fire(self.clock.now())
            for item in IntakeChunk.FromString(message.body).items
        ]

    async def pass_time(self, by: timedelta) -> None:
        """Fires what falls due, each at its time."""
        end = self.clock.now() + by
        while True:
            waiting = [entry.due for entry in self.scheduler.scheduled.values()]
            coming = min(waiting, default=end)
            if coming > end:
                break
            self.clock.advance(max(coming - self.clock.now(), timedelta(0)))
            items = self.due()
            if not items:
                break
            await self.firing.route(items)
        self.clock.advance(end - self.clock.now())

    @property
    def waiting(self) -> list[datetime]:
        return sorted(entry.due for entry in self.scheduler.scheduled.values())


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(datetime(2027, 3, 26, 12, 0, 30, tzinfo=UTC))


@pytest.fixture
def mesh(clock: FakeClock, scheduler: InMemoryScheduler, neighbours: Any) -> Mesh:
    table, taken = InMemoryScheduleTable(), Taken()
    planner = Planner(neighbours, scheduler, BuiltInTypes())
    patience = Breaker("postgres", timedelta(seconds=1), timedelta(seconds=5), clock)
    return Mesh(
        clock,
        scheduler,
        table,
        planner,
        Schedules(table, planner, LIMITS, clock, BuiltInTypes()),
        Firing(taken, table, planner, patience, clock, timedelta(0)),
        Reconciler(table, Waiting(scheduler), planner, scheduler, clock),
        taken,
    )


@pytest.fixture(scope="session")
def schedule(notify: Any) -> Any:
    def make(cron: str = "30 2 * * *", zone: str = "Europe/Berlin", **more: Any) -> Any:
        times = {
            name: more.pop(name) for name in ("start_time", "end_time") if name in more
        }
        made = Schedule(notification=notify(**more), cron=cron, time_zone=zone)
        for name, instant in times.items():
            getattr(made, name).FromDatetime(instant)
        return made

    return make


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


async def test_a_schedule_fires_at_all_its_times_and_plans_the_next_one(
    mesh: Mesh, schedule: Any
) -> None:
    assert await mesh.put("daily", schedule()) == utc("2027-03-27T01:30")
    await mesh.pass_time(timedelta(days=3))
    assert mesh.taken.times == [
        utc("2027-03-27T01:30"),
        utc("2027-03-28T01:00"),  # the clock is set forward over it
        utc("2027-03-29T00:30"),
    ]
    assert len({item.notification_id for item in mesh.taken.items}) == 3
    assert {item.tenant_id for item in mesh.taken.items} == {"demo"}
    assert {item.key_id for item in mesh.taken.items} == {"key-1"}
    assert mesh.waiting == [utc("2027-03-30T00:30")]


async def test_it_fires_without_the_table(mesh: Mesh, schedule: Any) -> None:
    await mesh.put("daily", schedule("0 * * * *", "UTC"))
    mesh.table.error = UnavailableError("postgres does not answer")
    await mesh.pass_time(timedelta(hours=5))
    assert len(mesh.taken.items) == 5
    assert mesh.waiting == [utc("2027-03-26T18:00")]


async def test_without_a_zone_it_comes_in_the_persons(
    mesh: Mesh, schedule: Any, neighbours: Any
) -> None:
    assert await mesh.put("d", schedule("0 9 * * *", "")) == utc("2027-03-27T09:00")
    neighbours.people["ada"].recipient.time_zone = "Asia/Tokyo"
    assert (await mesh.schedules.get("demo", "d")).next == utc("2027-03-27T00:00")
    await mesh.pass_time(timedelta(days=1))
    # What was planned comes as planned, and what follows it in the new zone.
    assert mesh.taken.times == [utc("2027-03-27T09:00")]
    assert mesh.waiting == [utc("2027-03-28T00:00")]


async def test_what_fired_is_held_until_the_next_one_can_be_planned(
    mesh: Mesh, schedule: Any, neighbours: Any
) -> None:
    await mesh.put("d", schedule("0 9 * * *", ""))
    mesh.clock.advance(timedelta(days=1))
    (item,) = mesh.due()
    neighbours.errors["recipients"].append(UnavailableError("down"))
    with pytest.raises(UnavailableError):
        await mesh.firing.route([item])
    assert not mesh.waiting
    await mesh.firing.route([item])
    assert len({item.notification_id for item in mesh.taken.items}) == 1
    assert len(mesh.waiting) == 1


async def test_it_comes_within_start_and_end_both_included(
    mesh: Mesh, schedule: Any
) -> None:
    asked = schedule(
        "0 * * * *",
        "UTC",
        start_time=utc("2027-03-27T10:00"),
        end_time=utc("2027-03-27T12:00"),
    )
    assert await mesh.put("d", asked) == utc("2027-03-27T10:00")
    await mesh.pass_time(timedelta(days=3))
    assert [at.hour for at in mesh.taken.times] == [10, 11, 12]
    assert not mesh.waiting
    assert await mesh.reconciler.repair() == 0
    assert not mesh.waiting
    assert (await mesh.schedules.get("demo", "d")).next is None


async def test_what_fired_twice_has_one_id_and_plans_once(
    mesh: Mesh, schedule: Any
) -> None:
    await mesh.put("d", schedule("0 * * * *", "UTC"))
    mesh.clock.advance(timedelta(hours=1))
    items = mesh.due()
    mesh.taken.error = UnavailableError("killed in between")
    with pytest.raises(UnavailableError):
        await mesh.firing.route(items)
    assert mesh.waiting == [utc("2027-03-26T14:00")]  # planned before it was routed
    mesh.taken.error = None
    await mesh.firing.route(items)
    await mesh.firing.route(items)
    assert len({item.notification_id for item in mesh.taken.items}) == 1
    assert mesh.waiting == [utc("2027-03-26T14:00")]


async def test_what_is_released_from_quiet_hours_plans_nothing(
    mesh: Mesh, schedule: Any
) -> None:
    await mesh.put("d", schedule("0 * * * *", "UTC"))
    mesh.clock.advance(timedelta(hours=1))
    (item,) = mesh.due()
    item.release = 1
    await mesh.schedules.delete("demo", "d")
    await mesh.firing.route([item])
    assert mesh.taken.items == [item]
    assert not mesh.waiting


async def test_a_deleted_one_never_fires(mesh: Mesh, schedule: Any) -> None:
    await mesh.put("d", schedule("0 * * * *", "UTC"))
    assert await mesh.schedules.delete("demo", "d") is True
    assert await mesh.schedules.delete("demo", "d") is False
    assert not mesh.waiting
    with pytest.raises(NotFoundError):
        await mesh.schedules.get("demo", "d")


async def test_one_that_fired_just_before_it_was_deleted_is_dropped(
    mesh: Mesh, schedule: Any
) -> None:
    await mesh.put("d", schedule("0 * * * *", "UTC"))
    mesh.clock.advance(timedelta(hours=1))
    items = mesh.due()
    await mesh.schedules.delete("demo", "d")
    await mesh.firing.route(items)
    assert not mesh.taken.items
    assert not mesh.waiting


async def test_a_delete_that_cannot_clear_the_stream_holds_all_the_same(
    mesh: Mesh, schedule: Any
) -> None:
    await mesh.put("d", schedule("0 * * * *", "UTC"))
    mesh.scheduler.error = UnavailableError("down")
    with pytest.raises(UnavailableError):
        await mesh.schedules.delete("demo", "d")
    mesh.scheduler.error = None
    assert len(mesh.waiting) == 1
    await mesh.pass_time(timedelta(hours=2))
    assert not mesh.taken.items
    assert not mesh.waiting


async def test_one_that_is_deleted_and_made_again_is_another_one(
    mesh: Mesh, schedule: Any
) -> None:
    await mesh.put("d", schedule("0 * * * *", "UTC"))
    old = mesh.table.rows["demo", "d"]
    await mesh.schedules.delete("demo", "d")
    await mesh.put("d", schedule("30 * * * *", "UTC"))
    await mesh.planner.plan([(old, mesh.clock.now())])  # by a worker that was late
    await mesh.pass_time(timedelta(hours=2))
    assert [at.minute for at in mesh.taken.times] == [30, 30]


async def test_putting_again_changes_at_once(mesh: Mesh, schedule: Any) -> None:
    await mesh.put("d", schedule("0 0 1 1 *", "UTC"))
    assert await mesh.put("d", schedule("0 13 * * *", "UTC")) == utc("2027-03-26T13:00")
    assert len(mesh.waiting) == 1
    await mesh.pass_time(timedelta(hours=2))
    assert mesh.taken.times == [utc("2027-03-26T13:00")]


async def test_a_worker_that_is_late_cannot_replace_what_a_change_planned(
    mesh: Mesh, schedule: Any
) -> None:
    await mesh.put("d", schedule("0 0 1 1 *", "UTC"))
    old = mesh.table.rows["demo", "d"]
    await mesh.put("d", schedule("0 13 * * *", "UTC"))
    await mesh.planner.plan([(old, mesh.clock.now())])
    assert mesh.waiting == [utc("2027-03-26T13:00"), utc("2028-01-01T00:00")]
    await mesh.pass_time(timedelta(days=280))
    await mesh.pass_time(timedelta(days=2))
    assert all(at.hour == 13 for at in mesh.taken.times)
    assert len(mesh.waiting) == 1


async def test_what_was_due_before_a_change_is_sent_as_it_was(
    mesh: Mesh, schedule: Any
) -> None:
    await mesh.put("d", schedule("0 * * * *", "UTC", title="old"))
    mesh.clock.advance(timedelta(minutes=59, seconds=31))
    items = mesh.due()
    await mesh.put("d", schedule("0 * * * *", "UTC", title="new"))
    await mesh.firing.route(items)
    await mesh.pass_time(timedelta(hours=1))
    by_id = {item.notification_id: item for item in reversed(mesh.taken.items)}
    # The same ids: of what is there twice, channels send the first.
    assert [item.notification.title for item in by_id.values()][::-1] == ["old", "new"]


async def test_putting_the_same_again_changes_nothing(
    mesh: Mesh, schedule: Any
) -> None:
    await mesh.put("d", schedule("0 * * * *", "UTC"))
    before = mesh.table.rows["demo", "d"]
    mesh.clock.advance(timedelta(hours=1))
    items = mesh.due()  # in flight
    await mesh.put("d", schedule(" 0  * * * * ", "UTC", idempotency_key="other"))
    assert mesh.table.rows["demo", "d"] == before
    await mesh.firing.route(items)
    assert len(mesh.taken.items) == 1


async def test_one_that_is_due_and_not_fired_yet_is_not_replaced(
    mesh: Mesh, schedule: Any
) -> None:
    asked = schedule("0 * * * *", "UTC")
    await mesh.put("d", asked)
    mesh.clock.advance(timedelta(minutes=59, seconds=30, milliseconds=200))
    await mesh.put("d", asked)
    assert mesh.waiting == [utc("2027-03-26T13:00")]


async def test_after_an_outage_the_one_that_waited_and_the_latest_are_made_up(
    mesh: Mesh, schedule: Any
) -> None:
    await mesh.put("d", schedule("* * * * *", "UTC"))
    mesh.clock.advance(timedelta(hours=3))  # nothing fires: the stream was down
    await mesh.pass_time(timedelta(minutes=1))
    made_up = [at.strftime("%H:%M") for at in mesh.taken.times]
    assert made_up[0] == "12:01"
    assert made_up[1:] == ["14:56", "14:57", "14:58", "14:59", "15:00", "15:01"]


async def test_what_is_not_planned_is_repaired(mesh: Mesh, schedule: Any) -> None:
    for number in range(5):
        await mesh.put(f"d{number}", schedule("0 13 * * *", "UTC"))
    mesh.scheduler.scheduled.clear()
    assert await mesh.reconciler.repair() == 5
    assert mesh.waiting == [utc("2027-03-26T13:00")] * 5
    assert await mesh.reconciler.repair() == 0


async def test_what_nobody_wants_any_more_is_removed(mesh: Mesh, schedule: Any) -> None:
    await mesh.put("gone", schedule())
    await mesh.put("changed", schedule())
    old = [*mesh.table.rows.values()]
    await mesh.schedules.delete("demo", "gone")
    await mesh.put("changed", schedule("0 13 * * *"))
    await mesh.planner.plan([(row, mesh.clock.now()) for row in old])
    assert len(mesh.waiting) == 3
    await mesh.reconciler.repair()
    assert set(mesh.scheduler.scheduled) == {mesh.table.rows["demo", "changed"].subject}


async def test_a_put_that_died_before_it_planned_is_repaired(
    mesh: Mesh, schedule: Any
) -> None:
    mesh.scheduler.error = UnavailableError("down")
    with pytest.raises(UnavailableError):
        await mesh.put("d", schedule("0 13 * * *", "UTC"))
    mesh.scheduler.error = None
    await mesh.reconciler.repair()
    assert mesh.waiting == [utc("2027-03-26T13:00")]


@pytest.mark.parametrize(
    ("change", "field", "rule"),
    [
        ({"cron": "61 * * * *"}, "schedule.cron", "cron.syntax"),
        ({"cron": ""}, "schedule.cron", "cron.syntax"),
        ({"cron": "0 0 31 4 *"}, "schedule.cron", "cron.never"),
        ({"zone": "Mars/Base"}, "schedule.time_zone", "time_zone"),
        ({"zone": "localtime"}, "schedule.time_zone", "time_zone"),
        ({"channels": ["fax"]}, "schedule.notification.channels[0]", "channel.unknown"),
        (
            {"end_time": datetime(2027, 3, 1, tzinfo=UTC)},
            "schedule.end_time",
            "end_time.too_early",
        ),
        (
            {"end_time": datetime(2027, 3, 26, 13, tzinfo=UTC)},
            "schedule.end_time",
            "end_time.never",
        ),
    ],
)
async def test_what_is_wrong_is_named(
    mesh: Mesh, schedule: Any, change: Any, field: str, rule: str
) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        await mesh.put("d", schedule(**change))
    assert [(v.field, v.reason) for v in refused.value.violations] == [(field, rule)]
    assert not mesh.table.rows


@pytest.fixture(params=["in memory", "postgres"])
async def table(request: Any, postgres: Any) -> AsyncIterator[ScheduleTable]:
    if request.param == "in memory":
        yield InMemoryScheduleTable()
        return
    pool = await open_pool(postgres.url, "router")
    yield PostgresScheduleTable(pool)
    await pool.close()


async def test_a_table_keeps_what_it_is_given(
    table: ScheduleTable, mesh: Mesh, schedule: Any
) -> None:
    tenant = f"t-{uuid.uuid4().hex[:12]}"
    for name in ("b", "a", "C"):
        await mesh.put(name, schedule(data={"n": 1}, end_time=utc("2030-01-01T00:00")))
    rows = [replace(row, tenant=tenant) for row in mesh.table.rows.values()]
    kept = [(await table.put(row)).now for row in rows]
    assert len({row.revision for row in kept}) == 3
    assert await table.page(tenant, "", 2) == [kept[2], kept[1]]
    assert await table.page(tenant, "a", 2) == [kept[0]]
    found = await table.find([(tenant, "a"), (tenant, "none"), ("other", "b")])
    assert found == {(tenant, "a"): kept[1]}

    again = await table.put(replace(rows[0], changed=utc("2028-01-01T00:00")))
    assert again.now == again.before == kept[0]
    changed = await table.put(replace(rows[0], cron="0 0 * * *"))
    assert changed.before == kept[0]
    assert changed.now.revision > kept[0].revision

    since = utc("2029-12-31T00:00")
    alive = await table.revisions((tenant, "C"), 10, since)
    assert [row for row in alive if row[0] == tenant] == [
        (tenant, "a", kept[1].revision),
        (tenant, "b", changed.now.revision),
    ]
    late = await table.revisions((tenant, ""), 10, utc("2030-01-02T00:00"))
    assert not [row for row in late if row[0] == tenant]

    assert await table.delete(tenant, "b") == changed.now
    assert await table.delete(tenant, "b") is None
    made_again = (await table.put(rows[0])).now
    assert made_again.revision > changed.now.revision


async def test_a_postgres_that_is_not_there_or_not_migrated_is_unavailable(
    postgres: Any,
) -> None:
    pool = await open_pool(postgres.url, "not_migrated")
    with pytest.raises(UnavailableError):
        await PostgresScheduleTable(pool).find([("demo", "d")])
    await pool.close()
