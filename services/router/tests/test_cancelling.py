from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_CANCELLED,
    EventChunk,
)
from clarion.router.cancelling import (
    BEGUN,
    Cancellation,
    CancelMarks,
    InMemoryCancelMarks,
    ValkeyCancelMarks,
)
from clarion.runtime import chunks
from clarion.runtime.errors import UnavailableError
from clarion.runtime.jetstream import (
    GroupPublisher,
    InMemoryPublisher,
    InMemoryScheduler,
)
from clarion.runtime.testing import FakeClock
from clarion.runtime.valkey import open_client


@dataclass
class Parts:
    cancellation: Cancellation
    marks: InMemoryCancelMarks
    scheduler: InMemoryScheduler
    publisher: InMemoryPublisher

    def told(self) -> list[Any]:
        return [
            event
            for message in self.publisher.published
            for event in EventChunk.FromString(message.body).events
        ]

    async def schedule(self, clock: FakeClock, kind: str = "intake") -> None:
        await self.scheduler.schedule(
            f"later.{kind}.demo.n",
            target="due.intake.high",
            due=clock.now(),
            body=b"",
            message_id="n",
        )


@pytest.fixture
async def parts(clock: FakeClock) -> AsyncIterator[Parts]:
    scheduler, publisher = InMemoryScheduler(), InMemoryPublisher()
    events = GroupPublisher(publisher, "events.router", chunks.join)
    marks = InMemoryCancelMarks()
    cancellation = Cancellation(scheduler, marks, events, clock)
    yield Parts(cancellation, marks, scheduler, publisher)
    await events.close()


@pytest.mark.parametrize("kind", ["intake", "release"])
async def test_what_is_scheduled_or_deferred_is_removed_and_told(
    kind: str, parts: Parts, clock: FakeClock
) -> None:
    await parts.schedule(clock, kind)
    assert await parts.cancellation.cancel("demo", "n") == "cancelled"
    assert not parts.scheduler.scheduled
    (event,) = parts.told()
    assert event.kind == EVENT_KIND_CANCELLED
    assert (event.notification_id, event.tenant_id) == ("n", "demo")


async def test_what_is_under_way_is_marked_for_the_channels(parts: Parts) -> None:
    assert await parts.cancellation.cancel("demo", "n") == "cancelling"
    assert parts.marks.marks == {("demo", "n"): "cancelling"}
    assert not parts.told()


@pytest.mark.parametrize("scheduled", [True, False])
async def test_a_repeated_cancel_has_the_same_answer(
    scheduled: bool, parts: Parts, clock: FakeClock
) -> None:
    if scheduled:
        await parts.schedule(clock)
    answers = {await parts.cancellation.cancel("demo", "n") for _ in range(3)}
    assert answers == {"cancelled" if scheduled else "cancelling"}
    assert len(parts.told()) == int(scheduled)


async def test_a_cancel_of_another_tenant_reaches_nothing(
    parts: Parts, clock: FakeClock
) -> None:
    await parts.schedule(clock)
    assert await parts.cancellation.cancel("other", "n") == "cancelling"
    assert parts.scheduler.scheduled


async def test_a_cancel_that_died_before_its_event_is_told_by_the_next(
    parts: Parts, clock: FakeClock
) -> None:
    await parts.schedule(clock)
    parts.publisher.error = UnavailableError()
    with pytest.raises(UnavailableError):
        await parts.cancellation.cancel("demo", "n")
    assert not parts.scheduler.scheduled
    parts.publisher.error = None
    await parts.cancellation.cancel("demo", "n")
    assert [event.kind for event in parts.told()] == [EVENT_KIND_CANCELLED]


async def test_without_the_mark_nothing_is_removed(
    parts: Parts, clock: FakeClock
) -> None:
    await parts.schedule(clock)
    parts.marks.error = UnavailableError()
    with pytest.raises(UnavailableError):
        await parts.cancellation.cancel("demo", "n")
    assert parts.scheduler.scheduled


@pytest.fixture(params=["in memory", "valkey"])
async def marks(request: pytest.FixtureRequest, valkey: Any) -> AsyncIterator[Any]:
    if request.param == "in memory":
        yield InMemoryCancelMarks()
        return
    client = open_client(valkey.url)
    yield ValkeyCancelMarks(client, timedelta(hours=1))
    await client.aclose()


async def test_marks_remember_the_first_begin_and_the_last_end(
    marks: CancelMarks,
) -> None:
    id = str(uuid.uuid4())
    assert await marks.begin("demo", id) == ""
    assert await marks.begin("demo", id) == BEGUN
    await marks.end("demo", id, "cancelled")
    assert await marks.begin("demo", id) == "cancelled"
    assert await marks.begin("other", id) == ""
