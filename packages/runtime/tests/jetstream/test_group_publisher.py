from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from clarion.runtime.errors import UnavailableError
from clarion.runtime.jetstream import (
    GroupPublisher,
    InMemoryPublisher,
    StreamFullError,
)
from clarion.runtime.testing.waiting import wait_until


class GatedPublisher(InMemoryPublisher):
    """Publishes when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.under_way = 0

    async def publish(self, subject, body, *, message_id, headers=None) -> None:
        self.under_way += 1
        await self.gate.wait()
        self.under_way -= 1
        await super().publish(subject, body, message_id=message_id, headers=headers)


def group_of(publisher, **options) -> GroupPublisher[bytes]:
    return GroupPublisher(publisher, "work.intake.high", b",".join, **options)


def bodies(publisher: InMemoryPublisher) -> list[bytes]:
    return [message.body for message in publisher.published]


async def test_an_item_alone_is_published_at_once():
    publisher = InMemoryPublisher()
    await group_of(publisher).submit(b"a", 1)

    assert bodies(publisher) == [b"a"]


async def test_items_submitted_during_a_publish_share_the_next_one():
    publisher = GatedPublisher()
    group = group_of(publisher, in_flight=1)
    first = asyncio.create_task(group.submit(b"a", 1))
    await wait_until(lambda: publisher.under_way)
    rest = [asyncio.create_task(group.submit(item, 1)) for item in (b"b", b"c", b"d")]
    await asyncio.sleep(0)
    publisher.gate.set()
    await asyncio.gather(first, *rest)

    assert bodies(publisher) == [b"a", b"b,c,d"]


async def test_items_submitted_together_share_one_publish():
    publisher = InMemoryPublisher()
    group = group_of(publisher)
    await asyncio.gather(*(group.submit(item, 1) for item in (b"a", b"b", b"c")))

    assert bodies(publisher) == [b"a,b,c"]


async def test_items_that_come_one_by_one_share_a_publish_within_the_spacing():
    publisher = InMemoryPublisher()
    group = group_of(publisher, spacing=timedelta(seconds=0.2))
    await group.submit(b"a", 1)
    rest = []
    for item in (b"b", b"c", b"d"):
        rest.append(asyncio.create_task(group.submit(item, 1)))
        await asyncio.sleep(0)
    await asyncio.gather(*rest)

    assert bodies(publisher) == [b"a", b"b,c,d"]


async def test_a_full_chunk_does_not_wait_for_the_spacing():
    publisher = InMemoryPublisher()
    group = group_of(publisher, spacing=timedelta(hours=1), max_items=2)
    await group.submit(b"a", 1)
    await group.submit_all([(b"b", 1), (b"c", 1)])

    assert bodies(publisher) == [b"a", b"b,c"]


async def test_what_is_worth_a_message_does_not_wait_for_the_spacing():
    publisher = InMemoryPublisher()
    group = group_of(publisher, spacing=timedelta(hours=1), worth_bytes=20)
    await group.submit(b"a", 1)
    await asyncio.gather(group.submit(b"b", 10), group.submit(b"c", 10))

    assert bodies(publisher) == [b"a", b"b,c"]


async def test_closing_does_not_wait_for_the_spacing():
    publisher = InMemoryPublisher()
    group = group_of(publisher, spacing=timedelta(hours=1))
    await group.submit(b"a", 1)
    last = asyncio.create_task(group.submit(b"b", 1))
    await asyncio.sleep(0)
    await group.close()
    await last

    assert bodies(publisher) == [b"a", b"b"]


@pytest.mark.parametrize(
    "limits", [{"max_items": 2}, {"max_bytes": 20}], ids=["items", "bytes"]
)
async def test_chunks_are_bounded(limits):
    publisher = InMemoryPublisher()
    group = group_of(publisher, **limits)
    await group.submit_all([(b"a", 10), (b"b", 10), (b"c", 10), (b"d", 10), (b"e", 10)])

    assert bodies(publisher) == [b"a,b", b"c,d", b"e"]


async def test_an_item_above_the_limit_goes_alone():
    publisher = InMemoryPublisher()
    group = group_of(publisher, max_bytes=20)
    await group.submit_all([(b"a", 1), (b"B", 1000), (b"c", 1)])

    assert bodies(publisher) == [b"a", b"B", b"c"]


async def test_full_chunks_are_published_side_by_side_up_to_the_limit():
    publisher = GatedPublisher()
    group = group_of(publisher, max_items=1, in_flight=3)
    submitting = asyncio.create_task(group.submit_all([(b"a", 1)] * 10))
    await wait_until(lambda: publisher.under_way == 3)
    assert len(group._in_flight) == 3
    publisher.gate.set()
    await submitting

    assert len(publisher.published) == 10


async def test_one_stuck_publish_does_not_hold_up_the_others():
    publisher = GatedPublisher()
    group = group_of(publisher)
    stuck = asyncio.create_task(group.submit(b"a", 1))
    await wait_until(lambda: publisher.under_way == 1)
    other = asyncio.create_task(group.submit(b"b", 1))
    await wait_until(lambda: publisher.under_way == 2)
    publisher.gate.set()

    await asyncio.gather(stuck, other)


async def test_every_caller_learns_of_a_failure_and_the_next_publish_works():
    publisher = InMemoryPublisher()
    publisher.error = StreamFullError()
    group = group_of(publisher)
    results = await asyncio.gather(
        *(group.submit(b"a", 1) for _ in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [StreamFullError] * 3

    publisher.error = None
    await group.submit(b"b", 1)
    assert bodies(publisher) == [b"b"]


async def test_a_caller_that_leaves_disturbs_nobody():
    publisher = GatedPublisher()
    group = group_of(publisher)
    leaving = asyncio.create_task(group.submit(b"a", 1))
    staying = asyncio.create_task(group.submit(b"b", 1))
    await wait_until(lambda: publisher.under_way)
    leaving.cancel()
    publisher.gate.set()
    await staying

    assert bodies(publisher) == [b"a,b"]


async def test_closing_settles_what_was_submitted_and_refuses_more():
    publisher = GatedPublisher()
    group = group_of(publisher, in_flight=1)
    submitted = [asyncio.create_task(group.submit(b"a", 1)) for _ in range(2)]
    await wait_until(lambda: publisher.under_way)
    submitted.append(asyncio.create_task(group.submit(b"b", 1)))
    await asyncio.sleep(0)
    closing = asyncio.create_task(group.close())
    publisher.gate.set()
    await closing
    await asyncio.gather(*submitted)

    assert bodies(publisher) == [b"a,a", b"b"]
    with pytest.raises(UnavailableError):
        await group.submit(b"c", 1)


@pytest.mark.integration
async def test_everything_submitted_from_many_sides_is_stored(streams, consume):
    group = GroupPublisher(streams.publisher, "work.push.high", b",".join)
    arrived: list[bytes] = []

    async def handle(messages) -> None:
        for message in messages:
            arrived.extend(message.data.split(b","))

    async def submit_some(side: int) -> None:
        for number in range(20):
            await group.submit(b"%d-%d" % (side, number), 10)

    await consume(handle)
    await asyncio.gather(*(submit_some(side) for side in range(32)))
    await wait_until(lambda: len(arrived) == 640)

    assert len(set(arrived)) == 640
