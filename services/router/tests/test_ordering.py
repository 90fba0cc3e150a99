from __future__ import annotations

import asyncio
import random
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from clarion.api.event.v1.work_pb2 import DeliveryJob, IntakeItem
from clarion.api.recipients.v1.recipient_pb2 import QuietHours
from clarion.api.router.v1.notification_service_pb2 import (
    BatchSendNotificationsRequest,
)
from clarion.api.router.v1.notification_type_service_pb2 import (
    NotificationType,
    PutNotificationTypeRequest,
)
from clarion.api.router.v1.notification_type_service_pb2_grpc import (
    NotificationTypeServiceStub,
)
from clarion.router.in_memory import InMemoryNeighbours
from clarion.router.notification_types import TypePolicy
from clarion.router.ordering import InMemoryTurns, Turn, ValkeyTurns
from clarion.router.routing import Router
from clarion.router.storing import Entry, Store
from clarion.runtime import chunks
from clarion.runtime.breaker import Breaker
from clarion.runtime.clock import SystemClock
from clarion.runtime.delivery import Outcome, RetryPolicy
from clarion.runtime.delivery.claims import Ask, Claims, ClaimState, Mark
from clarion.runtime.delivery.in_memory import ScriptedProvider
from clarion.runtime.errors import OverloadedError, UnavailableError
from clarion.runtime.jetstream import (
    GroupPublisher,
    InMemoryPublisher,
    InMemoryScheduler,
)
from clarion.runtime.keys import cancelled_key, order_key, turn_key
from clarion.runtime.testing import FakeClock

SECOND = timedelta(seconds=1)
SENDING = (ClaimState.CLAIMED, ClaimState.TAKEN_OVER)
OVER = (ClaimState.DONE, ClaimState.CANCELLED)


def turns_on(client: Redis) -> ValkeyTurns:
    return ValkeyTurns(client, Breaker("valkey", 5 * SECOND, SECOND, SystemClock()))


def ordered_item(tenant: str, user: str = "ada") -> IntakeItem:
    item = IntakeItem(notification_id=str(uuid.uuid4()), tenant_id=tenant, ordered=True)
    item.notification.user_id, item.notification.type = user, "parcel"
    item.accepted_time.FromDatetime(datetime.now(UTC))
    return item


@dataclass
class Case:
    """A notification of the world below, with what is to become of it."""

    number: int
    item: IntakeItem
    plan: list[list[str]]
    """The targets of each release."""
    failures: int


@dataclass
class World:
    """Routers and workers on one Valkey that do everything that may happen to them."""

    chance: random.Random
    redis: Redis
    turns: ValkeyTurns
    claims: Claims
    tenant: str = field(default_factory=lambda: f"t-{uuid.uuid4().hex[:12]}")
    cases: dict[str, Case] = field(default_factory=dict)
    intake: list[IntakeItem] = field(default_factory=list)
    jobs: list[DeliveryJob] = field(default_factory=list)
    sent: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    calls: int = 0

    def happens(self, share: float) -> bool:
        return self.chance.random() < share

    async def accept(self) -> None:
        number = len(self.cases)
        releases = 1 + self.happens(0.3)
        plan = [
            [t for t in ("one", "two") if self.happens(0.6)] for _ in range(releases)
        ]
        item = ordered_item(self.tenant)
        self.cases[item.notification_id] = Case(
            number, item, plan, self.chance.randint(0, 2)
        )
        await self.turns.join([item])
        if self.happens(0.1):
            await self.turns.leave([item])
            return
        if self.happens(0.1):
            await self.turns.join([item])
        self.intake.append(item)

    async def route(self) -> None:
        if not self.intake:
            return
        item = self.chance.choice(self.intake)
        case = self.cases[item.notification_id]
        targets = case.plan[item.release]
        comes_again = item.release + 1 < len(case.plan)
        ids = [f"{item.notification_id}-{item.release}-{t}" for t in targets]
        await self.turns.decided([Turn(item, tuple(ids), comes_again)])
        if self.happens(0.15):
            return  # killed before anything was handed over
        if comes_again:
            later = IntakeItem()
            later.CopyFrom(item)
            later.release += 1
            self.intake.append(later)
        for id, target in zip(ids, targets, strict=True):
            job = DeliveryJob(
                delivery_id=id,
                notification_id=item.notification_id,
                tenant_id=self.tenant,
                user_id="ada",
                type="parcel",
                channel="push",
                attempt=1,
                ordered=True,
            )
            job.target.address = target
            self.jobs.append(job)
        if self.happens(0.85):
            self.intake.remove(item)  # else killed before the ack

    async def deliver(self) -> None:
        if not self.jobs:
            return
        job = self.chance.choice(self.jobs)
        case = self.cases[job.notification_id]
        self.calls += 1
        owner = f"w-{self.calls}"
        [claim] = await self.claims.claim([Ask(job, owner, False)])
        if claim.state in OVER:
            await self.claims.end_turns([job])
            self.jobs.remove(job)
        elif claim.state is ClaimState.WAITING:
            self.jobs.remove(job)
        elif claim.state in SENDING:
            await self.attempt(job, case, owner)

    async def attempt(self, job: DeliveryJob, case: Case, owner: str) -> None:
        if job.attempt <= case.failures:
            job.attempt += 1
            await self.claims.settle([Mark.waiting(job, owner, job.attempt)])
            return
        self.sent[job.target.address].append(case.number)
        if self.happens(0.1):
            return  # killed before the record: sent again
        await self.claims.settle([Mark.done(job, owner, b"sent")])
        if self.happens(0.15):
            return  # killed before it made room: folded
        await self.claims.end_turns([job])
        self.jobs.remove(job)

    async def cancel(self) -> None:
        if self.cases:
            id = self.chance.choice(list(self.cases))
            await self.redis.set(cancelled_key(self.tenant, id), "cancelling")
            await self.turns.cancelled(self.tenant, id)

    async def live(self, steps: int) -> None:
        for _ in range(steps):
            step = self.chance.choices(
                [self.accept, self.route, self.deliver, self.cancel],
                [3, 5, 10, 0.5],
            )
            await step[0]()
        for _ in range(50_000):
            if not (self.intake or self.jobs):
                return
            await self.chance.choice([self.route, self.deliver])()
        raise AssertionError("somebody is held back for ever")


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_whatever_happens_the_order_holds_and_nobody_is_held_back_for_ever(
    valkey: Any, seed: int
) -> None:
    async def run() -> None:
        client: Redis = Redis.from_url(valkey.url)
        claims = Claims(client, lease=timedelta(milliseconds=1))
        world = World(random.Random(seed), client, turns_on(client), claims)
        await world.live(120)
        for numbers in world.sent.values():
            assert numbers == sorted(numbers)
        left = await client.zcard(order_key(world.tenant, "ada", "parcel"))
        assert left == 0
        for case in world.cases.values():
            turn = turn_key(world.tenant, case.item.notification_id)
            assert await client.pttl(turn) > 0 or not await client.exists(turn)
        await client.aclose()

    asyncio.run(run())


@pytest.fixture
async def redis_client(valkey: Any) -> AsyncIterator[Redis]:
    client: Redis = Redis.from_url(valkey.url)
    yield client
    await client.aclose()


@pytest.fixture
def tenant() -> str:
    return f"t-{uuid.uuid4().hex[:12]}"


def job_of(item: IntakeItem, delivery: str = "") -> DeliveryJob:
    job = DeliveryJob(
        delivery_id=delivery or f"d-{item.notification_id}",
        notification_id=item.notification_id,
        tenant_id=item.tenant_id,
        user_id=item.notification.user_id,
        type="parcel",
        channel="push",
        ordered=True,
    )
    job.target.address = "token"
    return job


async def claimed(client: Redis, *jobs: DeliveryJob) -> list[tuple[str, int]]:
    asks = [Ask(job, "w", False) for job in jobs]
    return [(c.state.value, c.ahead) for c in await Claims(client).claim(asks)]


async def test_those_of_one_call_keep_the_order_of_the_call(
    redis_client: Redis, tenant: str
) -> None:
    items = [ordered_item(tenant) for _ in range(20)]
    await turns_on(redis_client).join(items)
    states = await claimed(redis_client, *map(job_of, items))
    assert states == [("C", 0), *(("O", ahead) for ahead in range(1, 20))]


async def test_other_people_types_and_tenants_do_not_wait(
    redis_client: Redis, tenant: str
) -> None:
    items = [
        ordered_item(tenant),
        ordered_item(tenant, "bob"),
        ordered_item(f"{tenant}-2"),
        ordered_item(tenant),
    ]
    items[3].notification.type = "other"
    turns = turns_on(redis_client)
    for item in items:
        await turns.join([item])
    jobs = [job_of(item) for item in items]
    jobs[3].type = "other"
    assert await claimed(redis_client, *jobs) == [("C", 0)] * 4


async def test_who_has_no_place_is_not_held_back(
    redis_client: Redis, tenant: str
) -> None:
    await turns_on(redis_client).join([ordered_item(tenant)])
    assert await claimed(redis_client, job_of(ordered_item(tenant))) == [("C", 0)]


async def test_what_never_ends_holds_nobody_back_after_a_day(
    redis_client: Redis, tenant: str
) -> None:
    old, new = ordered_item(tenant), ordered_item(tenant)
    await turns_on(redis_client).join([old, new])
    key = order_key(tenant, "ada", "parcel")
    day = 86_400_000_000
    score = await redis_client.zscore(key, old.notification_id)
    assert score is not None
    await redis_client.zadd(key, {old.notification_id: score - day + 60_000_000})
    assert await claimed(redis_client, job_of(new)) == [("O", 1)]
    await redis_client.zadd(key, {old.notification_id: score - day})
    assert await claimed(redis_client, job_of(new), job_of(old)) == [("C", 0)] * 2


async def test_all_deliveries_have_to_be_over(redis_client: Redis, tenant: str) -> None:
    turns, claims = turns_on(redis_client), Claims(redis_client)
    first, second = ordered_item(tenant), ordered_item(tenant)
    await turns.join([first, second])
    await turns.decided([Turn(first, ("a", "b"), True)])
    later = IntakeItem()
    later.CopyFrom(first)
    later.release = 1
    for step in (
        lambda: claims.end_turns([job_of(first, "a")]),
        lambda: claims.end_turns([job_of(first, "a")]),
        lambda: claims.end_turns([job_of(first, "b")]),
        lambda: turns.decided([Turn(later, ("c",), False)]),
        lambda: turns.decided([Turn(first, ("a", "b"), True)]),
    ):
        await step()
        assert await claimed(redis_client, job_of(second)) == [("O", 1)]
    await claims.end_turns([job_of(first, "c")])
    assert await claimed(redis_client, job_of(second)) == [("C", 0)]


async def test_what_is_decided_again_stands_in_the_place_of_what_was_decided_then(
    redis_client: Redis, tenant: str
) -> None:
    turns, claims = turns_on(redis_client), Claims(redis_client)
    first, second = ordered_item(tenant), ordered_item(tenant)
    await turns.join([first, second])
    await turns.decided([Turn(first, ("lost device", "kept"), False)])
    await turns.decided([Turn(first, ("kept",), False)])
    await claims.end_turns([job_of(first, "kept")])
    assert await claimed(redis_client, job_of(second)) == [("C", 0)]


async def test_who_joins_while_valkey_is_down_takes_the_place_of_its_acceptance(
    redis_client: Redis, tenant: str
) -> None:
    turns = turns_on(redis_client)
    first = ordered_item(tenant)
    second = ordered_item(tenant)
    await turns.join([second])
    await turns.decided([Turn(first, ("d",), False)])
    assert await claimed(redis_client, job_of(second)) == [("O", 1)]


async def test_what_waited_and_was_cancelled_makes_room(
    redis_client: Redis, tenant: str
) -> None:
    turns = turns_on(redis_client)
    first, second = ordered_item(tenant), ordered_item(tenant)
    await turns.join([first, second])
    await turns.decided([Turn(first, (), True)])
    assert await claimed(redis_client, job_of(second)) == [("O", 1)]
    await turns.cancelled(tenant, first.notification_id)
    await turns.cancelled(tenant, "unknown")
    assert await claimed(redis_client, job_of(second)) == [("C", 0)]


@dataclass
class Front:
    store: Store
    publisher: InMemoryPublisher
    turns: InMemoryTurns


@pytest.fixture
async def front() -> AsyncIterator[Front]:
    from clarion.router.idempotency import InMemoryIdempotencyKeys

    publisher, turns = InMemoryPublisher(), InMemoryTurns()
    group = GroupPublisher(publisher, "work.intake.low", chunks.join)
    store = Store(
        {"low": group}, group, InMemoryScheduler(), InMemoryIdempotencyKeys(), turns
    )
    yield Front(store, publisher, turns)
    await group.close()


def entry_of(item: IntakeItem) -> Entry:
    return Entry(
        item.notification_id,
        item.SerializeToString(),
        "low",
        is_scheduled=False,
        is_ordered=True,
    )


async def test_a_refused_one_leaves_its_place(front: Front) -> None:
    front.publisher.error = OverloadedError("full")
    entries = [entry_of(ordered_item("demo"))]
    await front.store.put(entries)
    assert entries[0].error is not None
    assert front.turns.joined == []


async def test_valkey_down_accepts_all_the_same(front: Front) -> None:
    front.turns.error = UnavailableError("no")
    entry = entry_of(ordered_item("demo"))
    await front.store.put([entry])
    assert entry.is_stored


ORDERED = TypePolicy(category="parcel", ordered=True)


class OneType:
    def policy(self, tenant: str, type_: str) -> TypePolicy:
        return ORDERED


@pytest.fixture
def turns() -> InMemoryTurns:
    return InMemoryTurns()


@pytest.fixture
def routing(
    neighbours: InMemoryNeighbours,
    outbox: Any,
    clock: FakeClock,
    scheduler: InMemoryScheduler,
    turns: InMemoryTurns,
) -> Router:
    return Router(
        neighbours, outbox.publisher, clock, scheduler, OneType(), turns=turns
    )


async def test_a_decision_says_what_is_to_be_waited_for(
    routing: Router, turns: InMemoryTurns, make_item: Any, outbox: Any
) -> None:
    await routing.route([make_item(channels=["push", "email"])])
    (turn,) = turns.turns
    assert set(turn.deliveries) == {job.delivery_id for job in outbox.jobs}
    assert not turn.comes_again
    assert all(job.ordered for job in outbox.jobs)


async def test_nothing_planned_is_nothing_to_wait_for(
    routing: Router, turns: InMemoryTurns, make_item: Any
) -> None:
    await routing.route([make_item(user_id="nobody")])
    (turn,) = turns.turns
    assert (turn.deliveries, turn.comes_again) == ((), False)


async def test_what_is_deferred_comes_again(
    routing: Router,
    turns: InMemoryTurns,
    make_item: Any,
    person: Any,
    neighbours: InMemoryNeighbours,
    clock: FakeClock,
) -> None:
    end = clock.now() + timedelta(hours=2)
    quiet = QuietHours(start=f"{clock.now():%H:%M}", end=f"{end:%H:%M}")
    neighbours.people["ada"] = person(quiet_hours=quiet)
    await routing.route([make_item(channels=["email", "in_app"])])
    (turn,) = turns.turns
    assert (len(turn.deliveries), turn.comes_again) == (1, True)


async def test_nothing_is_handed_over_while_turns_cannot_be_noted(
    routing: Router, turns: InMemoryTurns, make_item: Any, outbox: Any
) -> None:
    turns.error = UnavailableError("no")
    with pytest.raises(UnavailableError):
        await routing.route([make_item()])
    assert not outbox.publisher.published


async def put_ordered_type(router: Any) -> None:
    stub = NotificationTypeServiceStub(router.harness.internal(router.tenant))
    await stub.PutNotificationType(
        PutNotificationTypeRequest(
            type="parcel", notification_type=NotificationType(ordered=True)
        )
    )


async def test_of_two_hundred_pairs_none_is_delivered_the_wrong_way_round(
    start: Any,
    start_push: Any,
    notify: Any,
    person: Any,
    neighbours: InMemoryNeighbours,
) -> None:
    users = [f"user-{number}" for number in range(200)]
    for user in users:
        profile = person(user)
        profile.recipient.devices.pop()
        profile.recipient.devices[0].token = f"token-{user}"
        neighbours.people[user] = profile

    def answer(job: DeliveryJob) -> Outcome:
        if job.content.title == "shipped" and job.attempt == 1:
            return Outcome.retry("busy")
        return Outcome.sent("m")

    provider = ScriptedProvider(script=answer)
    policy = RetryPolicy(waits=(timedelta(milliseconds=300),) * 7)
    async with start() as router, start():
        await put_ordered_type(router)

        async def send(title: str, priority: str) -> None:
            await router.stub.BatchSendNotifications(
                BatchSendNotificationsRequest(
                    notifications=[
                        notify(
                            user_id=user,
                            type="parcel",
                            channels=["push"],
                            title=title,
                            priority=priority,
                        )
                        for user in users
                    ]
                )
            )

        async with start_push(router, provider, workers=2, policy=policy) as push:
            await send("shipped", "low")
            await send("delivered", "high")
            told = await push.until(within=60, SENT=400)
    assert told["SENT"] == 400
    assert told["DEAD_LETTERED"] == 0
    titles: dict[str, list[str]] = defaultdict(list)
    attempts: dict[str, int] = {}
    for job in push.sent:
        titles[job.user_id].append(job.content.title)
        attempts[job.delivery_id] = job.attempt
    assert all(
        order == ["shipped", "shipped", "delivered"] for order in titles.values()
    )
    # Waiting for its turn is no attempt.
    assert sorted(attempts.values()) == [1] * 200 + [2] * 200
