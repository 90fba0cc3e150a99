from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from clarion.api.event.v1.work_pb2 import IntakeItem
from clarion.api.recipients.v1.recipient_pb2 import QuietHours
from clarion.api.recipients.v1.recipient_service_pb2 import RecipientProfile
from clarion.api.router.v1.notification_service_pb2 import (
    BatchSendNotificationsRequest,
)
from clarion.router.collapsing import (
    Collapsing,
    InMemoryLatest,
    Latest,
    ValkeyLatest,
)
from clarion.router.deciding import decide
from clarion.router.in_memory import InMemoryNeighbours
from clarion.router.routing import Router
from clarion.runtime.delivery import Outcome, RetryPolicy
from clarion.runtime.delivery.in_memory import ScriptedProvider
from clarion.runtime.errors import UnavailableError
from clarion.runtime.jetstream import InMemoryScheduler
from clarion.runtime.testing import FakeClock

SECOND = timedelta(seconds=1)


@pytest.fixture
def latest() -> InMemoryLatest:
    return InMemoryLatest()


@pytest.fixture
def router_(
    neighbours: InMemoryNeighbours,
    outbox: Any,
    clock: FakeClock,
    scheduler: InMemoryScheduler,
    latest: InMemoryLatest,
) -> Router:
    return Router(
        neighbours,
        outbox.publisher,
        clock,
        scheduler,
        collapsing=Collapsing(latest),
    )


@pytest.fixture
def update(make_item: Any, clock: FakeClock) -> Any:
    """Makes the update number n of an order, accepted n seconds later."""

    def make(number: int, **fields: Any) -> Any:
        item = make_item(**{"channels": ["email"], "collapse_key": "order-1", **fields})
        item.accepted_time.FromDatetime(clock.now() + number * SECOND)
        return item

    return make


def outcomes(outbox: Any) -> dict[str, tuple[str, str]]:
    return {
        event.notification_id: (channel.outcome, channel.reason)
        for event in outbox.events
        for channel in event.decided.decision.channels
    }


async def test_an_older_one_that_is_routed_later_is_superseded_without_a_permit(
    router_: Router, outbox: Any, update: Any, neighbours: InMemoryNeighbours
) -> None:
    old, new = update(1), update(2)
    await router_.route([new])
    await router_.route([old])
    assert outcomes(outbox) == {
        new.notification_id: ("planned", ""),
        old.notification_id: ("superseded", "collapse_key"),
    }
    assert list(neighbours.permits) == [new.notification_id]
    rules = outbox.events[-1].decided.decision.rules
    assert ("collapse_key", "skip") in [(rule.rule, rule.outcome) for rule in rules]


async def test_of_a_batch_only_the_latest_goes_on(
    router_: Router, outbox: Any, update: Any
) -> None:
    updates = [update(number) for number in (2, 5, 1, 4, 3)]
    await router_.route(updates)
    assert [job.notification_id for job in outbox.jobs] == [updates[1].notification_id]


async def test_of_two_in_the_same_instant_the_greater_id_goes_on(
    router_: Router, outbox: Any, update: Any
) -> None:
    updates = [update(1), update(1)]
    await router_.route(updates)
    assert [job.notification_id for job in outbox.jobs] == [
        max(item.notification_id for item in updates)
    ]


@pytest.mark.parametrize(
    "fields", [{"user_id": "bob"}, {"collapse_key": "order-2"}, {"collapse_key": ""}]
)
async def test_another_person_or_key_is_left_alone(
    router_: Router,
    outbox: Any,
    update: Any,
    person: Any,
    neighbours: InMemoryNeighbours,
    fields: Any,
) -> None:
    neighbours.people["bob"] = person("bob")
    await router_.route([update(1, **fields), update(2)])
    assert len(outbox.jobs) == 2


async def test_another_tenant_is_left_alone(
    router_: Router, outbox: Any, update: Any
) -> None:
    await router_.route([update(1, tenant="one"), update(2, tenant="two")])
    assert len(outbox.jobs) == 2


async def test_a_key_holds_across_channels(
    router_: Router, outbox: Any, update: Any
) -> None:
    await router_.route([update(2, channels=["sms"])])
    await router_.route([update(1, channels=["push", "email"])])
    assert [job.channel for job in outbox.jobs] == ["sms"]


async def test_routing_again_changes_nothing(
    router_: Router, outbox: Any, update: Any
) -> None:
    item = update(1)
    await router_.route([item])
    await router_.route([item])
    assert set(outcomes(outbox).values()) == {("planned", "")}


async def test_one_that_is_not_sent_withdraws_nothing(
    router_: Router, outbox: Any, update: Any, neighbours: InMemoryNeighbours
) -> None:
    old = update(1)
    neighbours.limited["promo"] = "daily"
    await router_.route([update(2, user_id="nobody")])
    await router_.route([update(3, category="promo")])
    await router_.route([old])
    assert [job.notification_id for job in outbox.jobs] == [old.notification_id]


async def test_one_that_is_deferred_withdraws_the_older_one(
    router_: Router,
    outbox: Any,
    update: Any,
    person: Any,
    neighbours: InMemoryNeighbours,
    scheduler: InMemoryScheduler,
    clock: FakeClock,
) -> None:
    start, end = clock.now() - SECOND, clock.now() + timedelta(hours=2)
    quiet = QuietHours(start=f"{start:%H:%M}", end=f"{end:%H:%M}", timezone="UTC")
    neighbours.people["ada"] = person(quiet_hours=quiet)
    old, new = update(1), update(2)
    await router_.route([new])
    await router_.route([old])
    assert outcomes(outbox)[old.notification_id] == ("superseded", "collapse_key")
    assert len(scheduler.scheduled) == 1


async def test_nothing_is_published_while_the_latest_cannot_be_recorded(
    router_: Router, outbox: Any, update: Any, latest: InMemoryLatest
) -> None:
    latest.error = UnavailableError("no")
    with pytest.raises(UnavailableError):
        await router_.route([update(1)])
    assert not outbox.publisher.published


async def test_without_a_key_nobody_asks(
    router_: Router, update: Any, latest: InMemoryLatest
) -> None:
    latest.error = UnavailableError("no")
    await router_.route([update(1, collapse_key="")])
    assert latest.calls == 0


@pytest.fixture(params=["memory", "valkey"])
async def any_latest(request: Any, valkey: Any) -> Any:
    if request.param == "memory":
        yield InMemoryLatest()
        return
    client: Redis = Redis.from_url(valkey.url)
    yield ValkeyLatest(client, timedelta(minutes=1))
    await client.aclose()


async def test_the_latest_is_kept_in_whatever_order_it_is_recorded(
    any_latest: Latest, request: Any
) -> None:
    name = f"latest:{{t}}:{request.node.name}"
    for place in [(5, "b"), (4, "z"), (5, "a"), (5, "b"), (6, "a"), (6, "0")]:
        await any_latest.record({name: place})
    assert list(await any_latest.look([name, f"{name}-2"])) == [(6, "a"), None]


@given(order=st.permutations(range(6)), cuts=st.sets(st.integers(1, 5)))
def test_whatever_the_order_and_the_batches_the_latest_goes_out(
    order: list[int], cuts: set[int]
) -> None:
    clock = FakeClock()

    async def run() -> list[int]:
        collapsing = Collapsing(InMemoryLatest())
        profile = RecipientProfile(found=True)
        sent: list[int] = []
        plans = []
        for number in order:
            item = IntakeItem(notification_id=f"n-{number}", tenant_id="demo")
            item.notification.user_id = "ada"
            item.notification.channels.append("in_app")
            item.notification.collapse_key = "k"
            item.accepted_time.FromMicroseconds(number // 2)
            plans.append((number, decide(item, profile, clock.now())))
        bounds = [0, *sorted(cuts), len(plans)]
        for start, end in pairwise(bounds):
            batch = plans[start:end]
            await collapsing.judge([plan for _, plan in batch])
            await collapsing.record([plan for _, plan in batch])
            sent += [number for number, plan in batch if plan.planned]
        return sent

    sent = asyncio.run(run())
    assert sent[-1] == 5
    assert sent == sorted(sent)


async def test_of_a_hundred_updates_that_wait_for_their_channel_one_is_sent(
    router: Any, start_push: Any, notify: Any, person: Any, neighbours: Any
) -> None:
    neighbours.people["ada"].recipient.devices.pop()
    for batch in range(10):
        request = BatchSendNotificationsRequest(
            notifications=[
                notify(channels=["push"], collapse_key="order-1", title=f"{batch}-{n}")
                for n in range(10)
            ]
        )
        await router.stub.BatchSendNotifications(request)
        await router.until(router.events, 10 * (batch + 1), 10)
    events = await router.events()
    decided = [event.decided.decision.channels[0].outcome for event in events]
    jobs = await router.jobs()
    assert decided.count("planned") == len(jobs) >= 10
    provider = ScriptedProvider()
    async with start_push(router, provider) as push:
        told = await push.until(SENT=1, SUPERSEDED=len(jobs) - 1)
    assert told == {"SENT": 1, "SUPERSEDED": len(jobs) - 1}
    assert decided.count("superseded") + told["SUPERSEDED"] == 99
    newest = max(
        jobs, key=lambda j: (j.accepted_time.ToMicroseconds(), j.notification_id)
    )
    # Other tests leave jobs in the stream that they share.
    own = {job.delivery_id for job in jobs}
    sent = [job.delivery_id for job in provider.sent if job.delivery_id in own]
    assert sent == [newest.delivery_id]


async def test_one_that_waits_for_its_retry_is_withdrawn_when_a_newer_one_comes(
    router: Any, start_push: Any, notify: Any, neighbours: Any
) -> None:
    neighbours.people["ada"].recipient.devices.pop()
    provider = ScriptedProvider(script=lambda job: Outcome.retry("busy"))
    policy = RetryPolicy(waits=(SECOND,) * 5)

    async def send(title: str) -> None:
        request = BatchSendNotificationsRequest(
            notifications=[notify(channels=["push"], collapse_key="k", title=title)]
        )
        await router.stub.BatchSendNotifications(request)

    async with start_push(router, provider, policy=policy) as push:
        await send("old")
        await push.until(RETRYING=1)
        provider.script = None
        await send("new")
        told = await push.until(SENT=1, SUPERSEDED=1)
    assert told["SENT"] == 1
    assert [job.content.title for job in push.sent].count("new") == 1
