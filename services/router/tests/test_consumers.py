from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from clarion.api.event.v1.work_pb2 import IntakeChunk
from clarion.router.consumers import IntakeHandler
from clarion.router.in_memory import InMemoryNeighbours
from clarion.router.routing import Router
from clarion.router.waits import Waits
from clarion.runtime.clock import SystemClock
from clarion.runtime.errors import InvalidArgumentError, UnavailableError
from clarion.runtime.jetstream import Inbound, InMemoryScheduler, PoisonError
from clarion.runtime.pacing import current_flow, waiting_since
from clarion.runtime.testing import FakeClock

SUBJECT = "work.intake.medium"


def message(*items: Any, data: bytes | None = None) -> Inbound:
    body = IntakeChunk(items=items).SerializeToString() if data is None else data
    return Inbound(SUBJECT, body, {}, "INTAKE", 1, 1, FakeClock().now())


@pytest.fixture
def handle(
    neighbours: InMemoryNeighbours, outbox: Any, clock: FakeClock
) -> IntakeHandler:
    neighbours.refused |= {"bad0", "bad1"}
    router = Router(neighbours, outbox.publisher, clock, InMemoryScheduler())
    return IntakeHandler(router, outbox.publisher, Waits(SystemClock()), "medium")


async def test_all_messages_are_one_batch(
    handle: IntakeHandler, neighbours: InMemoryNeighbours, outbox: Any, make_item: Any
) -> None:
    await handle([message(make_item(), make_item()), message(make_item())])
    assert neighbours.calls["recipients"] == 1
    assert len(outbox.events) == 3


async def test_a_batch_waits_since_its_oldest_message_was_stored(
    outbox: Any, clock: FakeClock, make_item: Any
) -> None:
    seen: list[Any] = []

    class Routes:
        async def route(self, items: Any) -> None:
            seen.append((current_flow(), waiting_since()))

    handle = IntakeHandler(Routes(), outbox.publisher, Waits(clock), "low.overflow")
    later = message(make_item())
    older = replace(later, stored_time=later.stored_time - timedelta(seconds=3))
    await handle([later, older])
    assert seen == [("low.overflow", older.stored_time)]
    assert waiting_since() is None


async def test_what_is_no_chunk_is_poison(
    handle: IntakeHandler, make_item: Any
) -> None:
    with pytest.raises(PoisonError) as poison:
        await handle([message(make_item()), message(data=b"\xff\xff")])
    assert poison.value.word == "undecodable"


async def test_a_bad_notification_does_not_take_its_chunk_along(
    handle: IntakeHandler, outbox: Any, make_item: Any
) -> None:
    bad = [make_item(user_id=f"bad{n}") for n in range(2)]
    good = [make_item() for _ in range(10)]
    await handle([message(*good[:5], bad[0], *good[5:], bad[1])])
    assert {event.notification_id for event in outbox.events} == {
        item.notification_id for item in good
    }
    apart = outbox.publisher.on(SUBJECT)
    assert [list(IntakeChunk.FromString(m.body).items) for m in apart] == [
        [bad[0]],
        [bad[1]],
    ]


async def test_a_bad_one_of_several_that_fired_goes_by_the_queue(
    handle: IntakeHandler, outbox: Any, make_item: Any
) -> None:
    body = IntakeChunk(items=[make_item(), make_item(user_id="bad0")])
    fired = Inbound(
        "due.intake.medium",
        body.SerializeToString(),
        {},
        "SCHED",
        1,
        1,
        FakeClock().now(),
    )
    await handle([fired])
    assert len(outbox.publisher.on(SUBJECT)) == 1


async def test_a_bad_notification_that_stands_alone_is_the_consumers_affair(
    handle: IntakeHandler, outbox: Any, make_item: Any
) -> None:
    with pytest.raises(InvalidArgumentError):
        await handle([message(make_item(user_id="bad0"))])
    assert not outbox.publisher.published


async def test_of_several_messages_the_consumer_finds_the_bad_one(
    handle: IntakeHandler, outbox: Any, make_item: Any
) -> None:
    bad = message(make_item(user_id="bad0"), make_item())
    with pytest.raises(InvalidArgumentError):
        await handle([message(make_item()), bad])
    await handle([bad])
    assert len(outbox.publisher.on(SUBJECT)) == 1
    assert len(outbox.events) == 1


async def test_a_neighbour_that_is_down_sets_nothing_apart(
    handle: IntakeHandler, neighbours: InMemoryNeighbours, outbox: Any, make_item: Any
) -> None:
    neighbours.errors["render"].append(UnavailableError())
    with pytest.raises(UnavailableError):
        await handle([message(make_item(), make_item())])
    assert not outbox.publisher.published
