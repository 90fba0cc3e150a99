from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.rpc import code_pb2

from clarion.api.event.v1.work_pb2 import IntakeChunk, IntakeItem
from clarion.router.in_memory import InMemoryNeighbours
from clarion.router.routing import Router
from clarion.runtime.errors import UnavailableError
from clarion.runtime.jetstream import InMemoryScheduler
from clarion.runtime.testing import FakeClock


@pytest.fixture
def router(
    outbox: Any,
    neighbours: InMemoryNeighbours,
    scheduler: InMemoryScheduler,
    clock: FakeClock,
) -> Router:
    return Router(neighbours, outbox.publisher, clock, scheduler)


def unsent(item: IntakeItem) -> IntakeItem:
    """What the channels send when nothing of a notification was sent."""
    over = IntakeItem(
        notification_id=item.notification_id, tenant_id="demo", give_back=True
    )
    over.notification.user_id = item.notification.user_id
    over.notification.type = item.notification.type
    over.notification.category = "comment"
    return over


async def test_what_was_never_sent_is_given_back_and_not_decided(
    router: Router, outbox: Any, neighbours: InMemoryNeighbours, make_item: Any
) -> None:
    items = [make_item(), make_item()]
    await router.route(items)
    decided = len(outbox.events)
    over = unsent(items[0])
    # Twice, and beside a redelivery of another one.
    await router.route([over, over, items[1]])
    assert set(neighbours.permits) == {items[1].notification_id}
    assert len(outbox.events) == decided + 1


async def test_a_limiter_that_does_not_answer_holds_nobody_up(
    router: Router,
    outbox: Any,
    neighbours: InMemoryNeighbours,
    scheduler: InMemoryScheduler,
    make_item: Any,
    clock: FakeClock,
) -> None:
    sent, other = make_item(), make_item()
    neighbours.broken["gone"] = code_pb2.NOT_FOUND
    failed = make_item(template_id="gone")
    await router.route([sent])
    neighbours.errors["release"] += [UnavailableError(), UnavailableError()]
    await router.route([unsent(sent), other, failed])
    assert len({event.notification_id for event in outbox.events}) == 3
    assert len(neighbours.permits) == 3
    assert not scheduler.fire(clock.now())
    clock.advance(timedelta(seconds=30))
    due = [
        item
        for fired in scheduler.fire(clock.now())
        for item in IntakeChunk.FromString(fired.body).items
    ]
    await router.route(due)
    assert set(neighbours.permits) == {other.notification_id}


async def test_what_can_not_even_be_kept_for_later_holds_the_batch(
    router: Router,
    neighbours: InMemoryNeighbours,
    scheduler: InMemoryScheduler,
    make_item: Any,
) -> None:
    neighbours.errors["release"].append(UnavailableError())
    scheduler.error = UnavailableError()
    with pytest.raises(UnavailableError):
        await router.route([unsent(make_item())])


async def test_jobs_say_how_many_were_planned_together(
    router: Router,
    outbox: Any,
    neighbours: InMemoryNeighbours,
    make_item: Any,
) -> None:
    await router.route([make_item(channels=["push", "email"])])
    assert [job.deliveries for job in outbox.jobs] == [3, 3, 3]
    part = make_item(channels=["push", "in_app"])
    part.release, part.channels[:] = 1, ["in_app"]
    neighbours.uncounted = ""
    await router.route([part])
    assert outbox.jobs[-1].deliveries == 0
    neighbours.uncounted = "open"
    await router.route([make_item(channels=["in_app"])])
    assert outbox.jobs[-1].deliveries == 0
