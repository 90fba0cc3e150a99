"""Tenants that flood at the same time, on real servers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from clarion.api.event.v1.work_pb2 import DeliveryChunk, IntakeItem
from clarion.router.settings import Settings
from clarion.runtime import chunks
from clarion.runtime.jetstream import JetStreamRescheduler, Streams
from clarion.runtime.streams import (
    INTAKE,
    OVERFLOW,
    due_subject,
    durable_name,
    later_subject,
    part_of,
    parts_of,
    work_subject,
)
from clarion.runtime.testing.stored import messages_of

pytestmark = pytest.mark.integration

FLOW = f"low.{OVERFLOW}"
AS_BEFORE = parts_of(INTAKE, FLOW)[0]
EACH = 50
"""Notifications of a message."""

Chunk = tuple[str, Sequence[IntakeItem]]


def tenants_of_different_parts(wanted: int) -> list[str]:
    found: dict[str, str] = {}
    for number in count():
        tenant = f"tenant-{number}"
        part = part_of(FLOW, tenant)
        if part != AS_BEFORE:
            found.setdefault(part, tenant)
        if len(found) == wanted:
            return list(found.values())
    raise AssertionError


async def store(streams: Streams, items: Sequence[IntakeItem], part: str) -> None:
    await streams.publisher.publish(
        work_subject(INTAKE, part),
        chunks.join([item.SerializeToString() for item in items]),
        message_id=items[0].notification_id,
    )


async def take_and_die(url: str, part: str, messages: int) -> None:
    """As a router that is killed with these in its hands."""
    router = await Streams.connect(url, name="killed")
    inbox = router.nc.new_inbox()
    hands = await router.nc.subscribe(inbox)
    await router.nc.publish(
        f"$JS.API.CONSUMER.MSG.NEXT.INTAKE.{durable_name(INTAKE, part)}",
        json.dumps({"batch": messages, "expires": 5_000_000_000}).encode(),
        reply=inbox,
    )
    for _ in range(messages):
        assert (await hands.next_msg(timeout=5)).data
    await router.close()


async def order_of(streams: Streams) -> list[tuple[str, str]]:
    """Tenant and notification of all jobs, as they were handed over."""
    return [
        (job.tenant_id, job.notification_id)
        async for message in messages_of(streams, "WORK")
        for job in DeliveryChunk.FromString(message.data).jobs
    ]


async def test_who_floods_less_is_done_long_before_who_floods_more(
    start: Any, own_nats: Any, make_item: Callable[..., IntakeItem]
) -> None:
    much, little, other = tenants_of_different_parts(3)
    stored: Counter[str] = Counter()
    streams = await Streams.connect(own_nats.url, name="older router")

    async def flood(tenant: str, messages: int, part: str) -> None:
        for _ in range(messages):
            items = [
                make_item(tenant, channels=["email"], priority="low")
                for _ in range(EACH)
            ]
            await store(streams, items, part)
            stored[tenant] += EACH

    await flood(much, 200, part_of(FLOW, much))
    await flood(little, 8, part_of(FLOW, little))
    await flood(other, 8, part_of(FLOW, other))
    # By a router that knew no parts.
    await flood(other, 2, AS_BEFORE)
    for tenant in (much, little):
        await take_and_die(own_nats.url, part_of(FLOW, tenant), 2)

    async with start(nats_url=own_nats.url, own=Settings(route_messages=4)) as router:

        async def handed_over() -> list[tuple[str, str]]:
            return await order_of(streams)

        # Of what is in dead hands nobody knows for 10 s.
        order = await router.until(handed_over, stored.total() - 4 * EACH, 60)
        done: Counter[str] = Counter()
        for tenant, _ in order:
            done[tenant] += 1
            if done[little] == 6 * EACH and done[other] == 10 * EACH:
                break
        assert done[much] < stored[much] / 2
        order = await router.until(handed_over, stored.total(), 60)
        assert Counter(tenant for tenant, _ in order) == stored
        assert len(set(order)) == stored.total()
    await streams.close()


async def test_what_fires_into_any_part_comes_also_when_it_is_rescheduled(
    start: Any, own_nats: Any, make_item: Callable[..., IntakeItem]
) -> None:
    async with start(nats_url=own_nats.url) as router:
        streams = router.streams
        rescheduler = JetStreamRescheduler(streams)
        ids = set()
        for part in parts_of(INTAKE, FLOW):
            for is_moved in (False, True):
                item = make_item(router.tenant, channels=["email"], priority="low")
                later = later_subject(INTAKE, router.tenant, item.notification_id)
                body = chunks.join([item.SerializeToString()])
                due = datetime.now(UTC) + timedelta(hours=1 if is_moved else 0)
                await streams.scheduler.schedule(
                    later,
                    target=due_subject(INTAKE, part),
                    due=due,
                    body=body,
                    message_id=item.notification_id,
                )
                if is_moved:
                    waiting = await rescheduler.find(later)
                    assert waiting is not None
                    await rescheduler.replace(waiting, datetime.now(UTC), body)
                ids.add(item.notification_id)

        async def came() -> set[str]:
            return {id for _, id in await order_of(streams)}

        assert await router.until(came, len(ids), 30) == ids
        assert len(await order_of(streams)) == len(ids)
