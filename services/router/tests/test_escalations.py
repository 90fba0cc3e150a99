from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from clarion.api.event.v1.notification_event_pb2 import EVENT_KIND_DECIDED, EventChunk
from clarion.api.event.v1.work_pb2 import DeliveryChunk, IntakeChunk, IntakeItem
from clarion.api.recipients.v1.recipient_service_pb2 import RecipientProfile
from clarion.api.router.v1.notification_pb2 import Notification
from clarion.router.in_memory import InMemoryNeighbours
from clarion.router.notification_types import TypePolicy
from clarion.router.routing import Router
from clarion.router.strategies.escalations import (
    Escalations,
    InMemoryEscalations,
    State,
    ValkeyEscalations,
    Wait,
)
from clarion.router.strategies.stepping import Escalating, Stepping
from clarion.runtime.delivery.reached import ValkeyReached
from clarion.runtime.errors import UnavailableError
from clarion.runtime.jetstream import InMemoryPublisher, InMemoryScheduler
from clarion.runtime.keys import escalation_key
from clarion.runtime.testing import FakeClock
from clarion.runtime.valkey import open_client

AFTER = timedelta(milliseconds=10)
MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CLOCK = "clock of the test"


class ClockedScripts:
    """The scripts themselves, by a clock that a test holds instead of TIME."""

    def __init__(self, client: Redis, now: Any) -> None:
        self.client: Any = client
        self._now = now
        self.escalations = ValkeyEscalations(client)
        self.reached = ValkeyReached(client)
        for script in (self.escalations._begin, self.escalations._judge):
            script.script = self._clocked(script.script)
            script.sha = ""
            registered = client.register_script(script.script)
            script.sha = registered.sha
        mark: Any = self.reached._mark
        mark._text = self._clocked(mark._text)

    def _clocked(self, text: Any) -> str:
        text = text if isinstance(text, str) else text.decode()
        assert "redis.call('TIME')" in text
        return str(
            text.replace("redis.call('TIME')", f"redis.call('LRANGE', '{CLOCK}', 0, 1)")
        )

    async def _set(self) -> None:
        micros = (self._now() - EPOCH) // MICROSECOND
        await self.client.delete(CLOCK)
        await self.client.rpush(CLOCK, micros // 1_000_000, micros % 1_000_000)

    async def begin(self, waits: Any) -> Any:
        await self._set()
        return await self.escalations.begin(waits)

    async def judge(self, steps: Any) -> Any:
        await self._set()
        return await self.escalations.judge(steps)

    async def mark(self, tenant: str, notification_id: str, how: str) -> None:
        await self._set()
        await self.reached.mark(tenant, [notification_id], how)


class Types:
    def policy(self, tenant: str, type_: str) -> TypePolicy:
        return TypePolicy(type_, escalate_after=AFTER)


class Race:
    """An inbox item that an SMS stands behind: every order of what may happen.

    Two oracles: the SMS is sent exactly if nothing was read before the deadline, and
    before the fallback where there was one; and one decision is never told twice with
    different ends.
    """

    def __init__(self, url: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock()
        self.client = open_client(url)
        self.gateway = ClockedScripts(self.client, self.clock.now)
        self.scheduler, self.publisher = InMemoryScheduler(), InMemoryPublisher()
        people = InMemoryNeighbours()
        ada = RecipientProfile(found=True)
        ada.recipient.phone_number = "+14155550123"
        people.people["ada"] = ada
        router = Router(
            people,
            self.publisher,
            self.clock,
            self.scheduler,
            Types(),
            stepping=Stepping(self.gateway, self.scheduler),
        )
        self.gate = Escalating(
            router,
            self.gateway,
            self.scheduler,
            self.publisher,
            Types(),
            self.clock,
        )
        self.fallback_at: datetime | None = None
        self.read_at: datetime | None = None
        self.seen: list[IntakeItem] = []

    def route(self, item: IntakeItem) -> None:
        self.loop.run_until_complete(self.gate.route([item]))

    def send(self) -> None:
        self.id = str(uuid.uuid4())
        item = IntakeItem(
            notification_id=self.id,
            tenant_id="demo",
            notification=Notification(
                user_id="ada",
                type="alarm",
                title="Fire",
                channels=["in_app", "sms"],
                strategy="escalate",
            ),
        )
        self.begun = self.clock.now()
        self.route(item)
        self.item = item

    def time_passes(self) -> None:
        self.clock.advance(timedelta(milliseconds=4))

    def a_moment_passes(self) -> None:
        self.clock.advance(MICROSECOND)

    def it_is_read(self) -> None:
        self.loop.run_until_complete(self.gateway.mark("demo", self.id, "read"))
        self.read_at = self.read_at or self.clock.now()

    def it_is_delivered(self) -> None:
        self.loop.run_until_complete(self.gateway.mark("demo", self.id, "delivered"))

    def timers_fire(self) -> None:
        for fired in self.scheduler.fire(self.clock.now()):
            self.arrive(fired.body)

    def the_stream_server_is_ahead(self) -> None:
        for fired in self.scheduler.fire(self.clock.now() + timedelta(milliseconds=7)):
            self.arrive(fired.body)

    def the_last_step_comes_again(self) -> None:
        for step in self.seen[-1:]:
            self.route(step)

    def the_first_step_comes_again(self) -> None:
        for step in self.seen[:1]:
            self.route(step)

    def the_decision_is_repeated(self) -> None:
        self.route(self.item)

    def the_inbox_fails(self) -> None:
        job = next(job for job in self.jobs() if job.channel == "in_app")
        if self.fallback_at is None:
            self.fallback_at = self.clock.now()
        step = IntakeItem.FromString(job.fallback)
        self.seen.append(step)
        self.route(step)

    def the_router_dies_at_the_fallback(self) -> None:
        self.publisher.error = UnavailableError("away")
        with suppress(UnavailableError):
            self.the_inbox_fails()
        self.publisher.error = None

    def the_router_dies_at_the_timer(self) -> None:
        self.publisher.error = UnavailableError("away")
        with suppress(UnavailableError):
            self.timers_fire()
        self.publisher.error = None

    def arrive(self, body: bytes) -> None:
        (step,) = IntakeChunk.FromString(body).items
        self.seen.append(step)
        self.route(step)

    def jobs(self) -> list[Any]:
        return [
            job
            for message in self.publisher.published
            if message.subject.startswith("work.")
            for job in DeliveryChunk.FromString(message.body).jobs
        ]

    def close(self) -> None:
        self.loop.run_until_complete(self.client.aclose())
        self.loop.close()

    def settle(self) -> None:
        """What died comes again, and what waits falls due."""
        for step in list(self.seen):
            self.route(step)
        self.clock.advance(timedelta(seconds=1))
        for _ in range(3):
            self.timers_fire()
        for step in list(self.seen):
            self.route(step)

    def check(self) -> None:
        ends = self.begun + AFTER
        if self.fallback_at is not None:
            # A mark and a fallback at one instant: whichever came first may hold.
            ends = min(ends, self.fallback_at)
        sms = {job.delivery_id for job in self.jobs() if job.channel == "sms"}
        if self.read_at is None or self.read_at > ends:
            assert len(sms) == 1
        elif self.read_at < ends:
            assert not sms
        told = defaultdict(set)
        for message in self.publisher.on("events.router"):
            for event in EventChunk.FromString(message.body).events:
                if event.kind == EVENT_KIND_DECIDED:
                    choices = event.decided.decision.channels
                    told[event.event_id].add(
                        tuple((c.channel, c.outcome, c.reason) for c in choices)
                    )
        assert all(len(ends) == 1 for ends in told.values())
        assert len(told) == 2


WHAT_MAY_HAPPEN = (
    Race.time_passes,
    Race.time_passes,
    Race.a_moment_passes,
    Race.it_is_read,
    Race.it_is_delivered,
    Race.timers_fire,
    Race.the_stream_server_is_ahead,
    Race.the_router_dies_at_the_timer,
    Race.the_decision_is_repeated,
    Race.the_last_step_comes_again,
    Race.the_first_step_comes_again,
)
FAILING = (Race.the_inbox_fails, Race.the_router_dies_at_the_fallback)


@pytest.mark.parametrize("events", [WHAT_MAY_HAPPEN, WHAT_MAY_HAPPEN + FAILING])
def test_the_sms_is_sent_unless_it_was_read_in_time_and_never_twice(
    valkey: Any, events: Any
) -> None:
    orders = st.lists(st.sampled_from(events), min_size=6, max_size=12)

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(orders)
    def holds(order: Any) -> None:
        race = Race(valkey.url)
        try:
            race.send()
            for happens in order:
                happens(race)
            race.settle()
            race.check()
        finally:
            race.close()

    holds()


@pytest.fixture(params=["memory", "valkey"])
async def gateway(request: pytest.FixtureRequest, valkey: Any, clock: FakeClock) -> Any:
    """Both implementations, by one clock."""
    if request.param == "memory":
        memory = InMemoryEscalations(clock.now)
        yield memory
        return
    client = open_client(valkey.url)
    yield ClockedScripts(client, clock.now)
    await client.aclose()


def step_of(
    id: str, release: int = 1, cause: str = "timer", until: str = "read"
) -> Any:
    item = IntakeItem(tenant_id="demo", notification_id=id, release=release)
    item.escalation.until, item.escalation.cause = until, cause
    return item


async def mark(gateway: Any, id: str, how: str) -> None:
    done = gateway.mark("demo", id, how)
    if done is not None:
        await done


# what happens (after so many microseconds of 10,000), then the answers to the last step
STORIES: list[tuple[str, list[tuple[int, str]], tuple[str, str], State]] = [
    ("nothing", [], ("timer", "read"), State.GOES_ON),
    ("read", [(9_999, "read")], ("timer", "read"), State.READ),
    ("read late", [(10_000, "read")], ("timer", "read"), State.GOES_ON),
    ("read twice", [(5, "read"), (20_000, "read")], ("timer", "read"), State.READ),
    ("delivered", [(5, "delivered")], ("timer", "read"), State.GOES_ON),
    ("enough", [(5, "delivered")], ("timer", "delivered"), State.DELIVERED),
    ("more", [(5, "read")], ("timer", "delivered"), State.READ),
    ("taken", [(5, "fallback")], ("timer", "read"), State.TAKEN),
    ("read after", [(5, "fallback"), (1, "read")], ("timer", "read"), State.TAKEN),
    ("again", [(5, "fallback"), (1, "read")], ("fallback", "read"), State.GOES_ON),
    ("read first", [(5, "read"), (1, "fallback")], ("timer", "read"), State.READ),
    ("timer first", [(10_000, "timer")], ("fallback", "read"), State.TAKEN),
    ("late mark", [(10_001, "read")], ("fallback", "read"), State.GOES_ON),
    ("deferred", [(5, "read")], ("release", "read"), State.READ),
]


@pytest.mark.parametrize(("name", "story", "asked", "state"), STORIES)
async def test_one_place_decides(
    gateway: Any,
    clock: FakeClock,
    name: str,
    story: list[tuple[int, str]],
    asked: tuple[str, str],
    state: State,
) -> None:
    id = str(uuid.uuid4())
    (deadline,) = await gateway.begin([Wait("demo", id, 1, AFTER)])
    assert deadline == clock.now() + AFTER
    for micros, what in story:
        clock.advance(micros * MICROSECOND)
        if what in ("read", "delivered"):
            await mark(gateway, id, what)
        else:
            await gateway.judge([step_of(id, cause=what)])
    clock.advance(timedelta(seconds=1))
    cause, until = asked
    for _ in range(2):
        (verdict,) = await gateway.judge([step_of(id, cause=cause, until=until)])
        assert verdict.state is state


async def test_who_is_early_is_told_how_much(gateway: Any, clock: FakeClock) -> None:
    id = str(uuid.uuid4())
    await gateway.begin([Wait("demo", id, 1, AFTER)])
    clock.advance(timedelta(milliseconds=4))
    (verdict,) = await gateway.judge([step_of(id)])
    assert (verdict.state, verdict.left) == (State.EARLY, timedelta(milliseconds=6))
    # It has not taken the step.
    (verdict,) = await gateway.judge([step_of(id, cause="fallback")])
    assert verdict.state is State.GOES_ON


async def test_the_deadline_of_a_repeated_decision_is_the_first_one(
    gateway: Any, clock: FakeClock
) -> None:
    id = str(uuid.uuid4())
    (first,) = await gateway.begin([Wait("demo", id, 1, AFTER)])
    clock.advance(timedelta(minutes=1))
    assert await gateway.begin([Wait("demo", id, 1, AFTER)]) == [first]
    (second,) = await gateway.begin([Wait("demo", id, 2, AFTER)])
    assert second == clock.now() + AFTER


async def test_what_was_lost_goes_on(gateway: Any, clock: FakeClock) -> None:
    id = str(uuid.uuid4())
    step = step_of(id)
    step.escalation.deadline.FromDatetime(clock.now() + AFTER)
    (verdict,) = await gateway.judge([step])
    assert (verdict.state, verdict.left) == (State.EARLY, AFTER)
    clock.advance(AFTER)
    (verdict,) = await gateway.judge([step])
    assert verdict.state is State.GOES_ON


async def test_what_nobody_waits_for_is_not_marked(
    gateway: Any, clock: FakeClock
) -> None:
    id = str(uuid.uuid4())
    await mark(gateway, id, "read")
    await gateway.begin([Wait("demo", id, 1, AFTER)])
    clock.advance(AFTER)
    (verdict,) = await gateway.judge([step_of(id)])
    assert verdict.state is State.GOES_ON


async def test_many_of_many_tenants_are_answered_in_their_order(valkey: Any) -> None:
    client = open_client(valkey.url)
    escalations: Escalations = ValkeyEscalations(client)
    reached = ValkeyReached(client)
    waits = [
        Wait(f"t{n % 3}", str(uuid.uuid4()), 1, timedelta(hours=1)) for n in range(1700)
    ]
    await escalations.begin(waits)
    for n, wait in enumerate(waits):
        if n % 5 == 0:
            await reached.mark(wait.tenant, [wait.notification_id], "read")
    steps = [step_of(wait.notification_id) for wait in waits]
    for step, wait in zip(steps, waits, strict=True):
        step.tenant_id = wait.tenant
    verdicts = await escalations.judge(steps)
    for n, verdict in enumerate(verdicts):
        assert verdict.state is (State.EARLY if n % 5 else State.READ)
    lives: Any = await client.pttl(escalation_key("t0", waits[0].notification_id))
    assert timedelta(days=3) < timedelta(milliseconds=lives) < timedelta(days=4)
    await client.aclose()


async def test_without_valkey_nothing_is_known(own_valkey: Any) -> None:
    client = open_client(own_valkey.url)
    escalations = ValkeyEscalations(client)
    await own_valkey.stop()
    with pytest.raises(UnavailableError):
        await escalations.begin([Wait("demo", "n", 1, AFTER)])
    with pytest.raises(UnavailableError):
        await escalations.judge([step_of("n")])
    await client.aclose()
