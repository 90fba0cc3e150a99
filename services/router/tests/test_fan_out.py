from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clarion.api.event.v1.work_pb2 import IntakeChunk, IntakeItem
from clarion.router.broadcast_events import InMemoryBroadcastEvents
from clarion.router.cancelling import InMemoryCancelMarks
from clarion.router.fan_out import (
    MOST_SUBSCRIBERS,
    FanOut,
    member_id,
    page_size_for,
)
from clarion.router.topics import InMemoryTopics
from clarion.runtime.errors import UnavailableError
from clarion.runtime.jetstream import InMemoryPublisher, StreamFullError
from clarion.runtime.streams import part_of

TOPIC = "news"
BROADCAST = "0193b0a0-0000-7000-8000-000000000000"


class KilledError(BaseException):
    """The process is gone."""


class Routed:
    """Takes down what is routed."""

    def __init__(self) -> None:
        self.items: list[IntakeItem] = []

    @property
    def counts(self) -> Counter[str]:
        return Counter(item.notification_id for item in self.items)

    async def route(self, items: Sequence[IntakeItem]) -> None:
        self.items += items


class DyingPublisher(InMemoryPublisher):
    """Dies at chosen publishes, counted from 1: negative ones after they are stored."""

    def __init__(self, *deaths: int) -> None:
        super().__init__()
        self.deaths = set(deaths)

    async def publish(self, subject: str, body: bytes, **more: Any) -> None:
        number = self.tries + 1
        if number in self.deaths:
            self.tries += 1
            raise KilledError
        await super().publish(subject, body, **more)
        if -number in self.deaths:
            raise KilledError


class FullPublisher(InMemoryPublisher):
    """Takes so many messages, then is full."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    async def publish(self, subject: str, body: bytes, **more: Any) -> None:
        if len(self.published) >= self.room:
            raise StreamFullError
        await super().publish(subject, body, **more)


class Mesh:
    """A queue, and a worker that is started again whenever it died."""

    def __init__(self, publisher: InMemoryPublisher, *people: str) -> None:
        self.publisher = publisher
        self.topics = InMemoryTopics()
        self.topics.subscribers[TOPIC] |= set(people)
        self.routed = Routed()
        self.cancels = InMemoryCancelMarks()
        self.events = InMemoryBroadcastEvents()
        self.fan_out = FanOut(
            self.routed, self.topics, self.cancels, publisher, self.events
        )
        self.deaths = 0
        self.longest = 0

    async def run(self, broadcast: IntakeItem, each_time: Any = None) -> None:
        queue: deque[list[IntakeItem]] = deque([[broadcast]])
        seen = 0
        while queue:
            items = queue.popleft()
            try:
                await self.fan_out.route(items)
            except KilledError:
                self.deaths += 1
                queue.append(items)  # not acknowledged: it comes again
            stored = self.publisher.published
            queue += [list(IntakeChunk.FromString(m.body).items) for m in stored[seen:]]
            seen = len(stored)
            self.longest = max(self.longest, sum(len(waiting) for waiting in queue))
            if each_time is not None:
                each_time()


@pytest.fixture
def broadcast(make_item: Any) -> IntakeItem:
    item: IntakeItem = make_item(
        notification_id=BROADCAST, user_id="", priority="low", idempotency_key="k"
    )
    item.broadcast.topic = TOPIC
    item.trace_parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    return item


def ids_of(people: Sequence[str]) -> Counter[str]:
    return Counter(member_id("demo", BROADCAST, user_id) for user_id in people)


def crowd(count: int) -> list[str]:
    return [f"user-{number:06d}" for number in range(count)]


async def test_each_subscriber_gets_a_notification(broadcast: IntakeItem) -> None:
    mesh = Mesh(InMemoryPublisher(), "ada", "bob")
    await mesh.run(broadcast)
    ada, bob = mesh.routed.items
    expected = IntakeItem()
    expected.CopyFrom(broadcast)
    expected.notification_id = member_id("demo", BROADCAST, "ada")
    expected.broadcast_id = BROADCAST
    expected.notification.user_id = "ada"
    expected.notification.ClearField("idempotency_key")
    expected.ClearField("broadcast")
    expected.ClearField("trace_parent")
    assert ada == expected
    assert bob.notification.user_id == "bob"
    assert {m.subject for m in mesh.publisher.published} == {
        f"work.intake.{part_of('low.overflow', 'demo')}"
    }


async def test_a_topic_that_nobody_knows_reaches_nobody(broadcast: IntakeItem) -> None:
    mesh = Mesh(InMemoryPublisher())
    await mesh.run(broadcast)
    assert not mesh.routed.items
    assert not mesh.publisher.published
    assert list(mesh.events.told.values()) == [(0, True)]


async def test_the_queue_holds_a_page_and_no_more(broadcast: IntakeItem) -> None:
    people = crowd(4 * MOST_SUBSCRIBERS + 1)
    mesh = Mesh(InMemoryPublisher(), *people)
    await mesh.run(broadcast)
    assert mesh.routed.counts == ids_of(people)
    assert mesh.topics.calls == 5
    assert mesh.longest == MOST_SUBSCRIBERS + 1


@pytest.mark.parametrize("after", [1, -1], ids=["before storing", "after storing"])
@pytest.mark.parametrize("place", range(1, 16))
async def test_a_worker_killed_anywhere_reaches_each_subscriber_once(
    broadcast: IntakeItem, place: int, after: int
) -> None:
    people = crowd(3 * MOST_SUBSCRIBERS)  # four chunks a page, and what goes on
    mesh = Mesh(DyingPublisher(after * place), *people)
    await mesh.run(broadcast)
    assert mesh.deaths == (1 if place <= 14 else 0)
    assert mesh.routed.counts == ids_of(people)


async def test_a_kill_repeats_no_more_than_a_page(broadcast: IntakeItem) -> None:
    mesh = Mesh(DyingPublisher(-4, -12), *crowd(5 * MOST_SUBSCRIBERS))
    await mesh.run(broadcast)
    assert (mesh.deaths, mesh.topics.calls) == (2, 5 + 2)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
async def test_who_stays_is_reached_once_whoever_comes_and_goes(
    data: st.DataObject,
) -> None:
    broadcast = IntakeItem(notification_id=BROADCAST, tenant_id="demo")
    broadcast.notification.priority = "low"
    # 1.4 MB: three subscribers make a page.
    broadcast.notification.message = "x" * 1_400_000
    broadcast.broadcast.topic = TOPIC
    names = st.integers(0, 30).map(lambda number: f"{number:02d}")
    staying = data.draw(st.sets(names, max_size=12))
    deaths = data.draw(st.sets(st.integers(-20, 20), max_size=3))
    mesh = Mesh(DyingPublisher(*deaths), *staying)
    present = mesh.topics.subscribers[TOPIC]

    def change() -> None:
        present.symmetric_difference_update(
            data.draw(st.sets(names, max_size=3)) - staying
        )

    await mesh.run(broadcast, change)
    ids = ids_of(sorted(staying))
    assert {id: mesh.routed.counts[id] > 0 for id in ids} == dict.fromkeys(ids, True)
    # What is stored twice has the same id, and is folded where it is delivered.
    users = {i.notification_id: i.notification.user_id for i in mesh.routed.items}
    assert len(set(users.values())) == len(users)


@pytest.mark.parametrize("room", [0, 1, 4, 5, 7])
async def test_a_full_queue_does_not_stop_the_worker_that_empties_it(
    broadcast: IntakeItem, room: int
) -> None:
    people = crowd(3 * MOST_SUBSCRIBERS)
    mesh = Mesh(FullPublisher(room), *people)
    await mesh.run(broadcast)
    assert mesh.routed.counts == ids_of(people)


async def test_what_goes_to_one_person_is_routed_beside_a_broadcast(
    broadcast: IntakeItem, make_item: Any
) -> None:
    mesh = Mesh(InMemoryPublisher(), "ada")
    single = make_item()
    await mesh.fan_out.route([single, broadcast, broadcast])
    assert mesh.routed.items == [single]
    assert mesh.topics.calls == 1


async def test_a_neighbour_that_is_down_is_asked_for_the_page_again(
    broadcast: IntakeItem,
) -> None:
    mesh = Mesh(InMemoryPublisher(), "ada")
    mesh.topics.errors.append(UnavailableError())
    with pytest.raises(UnavailableError):
        await mesh.fan_out.route([broadcast])
    assert not mesh.publisher.published
    await mesh.run(broadcast)
    assert mesh.routed.counts == ids_of(["ada"])


async def test_a_cancel_spares_who_was_not_reached_yet(broadcast: IntakeItem) -> None:
    people = crowd(3 * MOST_SUBSCRIBERS)
    mesh = Mesh(InMemoryPublisher(), *people)

    def cancel_in_the_middle() -> None:
        if mesh.topics.calls == 2:
            mesh.cancels.marks["demo", BROADCAST] = "cancelling"

    await mesh.run(broadcast, cancel_in_the_middle)
    assert mesh.routed.counts == ids_of(people[: 2 * MOST_SUBSCRIBERS])
    assert mesh.events.was_cancelled
    assert max(mesh.events.told.values()) == (2 * MOST_SUBSCRIBERS, False)


async def test_how_far_a_broadcast_is_is_told_page_by_page_whatever_is_killed(
    broadcast: IntakeItem,
) -> None:
    people = crowd(2 * MOST_SUBSCRIBERS + 1)
    mesh = Mesh(DyingPublisher(-1, -6, 11), *people)
    await mesh.run(broadcast)
    assert mesh.deaths == 3
    assert sorted(mesh.events.told.values()) == [
        (MOST_SUBSCRIBERS, False),
        (2 * MOST_SUBSCRIBERS, False),
        (2 * MOST_SUBSCRIBERS + 1, True),
    ]


async def test_nobody_is_told_while_it_is_not_known_what_was_cancelled(
    broadcast: IntakeItem,
) -> None:
    mesh = Mesh(InMemoryPublisher(), "ada")
    mesh.cancels.error = UnavailableError()
    with pytest.raises(UnavailableError):
        await mesh.fan_out.route([broadcast])
    assert not mesh.publisher.published


def test_large_notifications_make_small_pages(broadcast: IntakeItem) -> None:
    assert page_size_for(broadcast) == MOST_SUBSCRIBERS
    broadcast.notification.message = "x" * 60_000
    assert 60 < page_size_for(broadcast) < 70


async def test_the_count_of_subscribers_goes_along(
    broadcast: IntakeItem, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "clarion.router.fan_out")
    mesh = Mesh(InMemoryPublisher(), *crowd(2500))
    await mesh.run(broadcast)
    (record,) = caplog.records
    assert vars(record)["subscribers"] == 2500
