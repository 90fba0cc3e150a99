from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from clarion.api.event.v1.dead_letter_pb2 import DeadLetter
from clarion.runtime.jetstream import AdvisoryWorker, DeadLetterFilter, Streams
from clarion.runtime.jetstream.declaration import declare_durable
from clarion.runtime.jetstream.inbound import Inbound
from clarion.runtime.streams import DurableSpec, work_subject

SUBJECT = work_subject("push", "high")
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)

pytestmark = pytest.mark.integration


async def put(streams: Streams, number: int, **changes: object) -> None:
    letter = DeadLetter(
        source_stream="WORK",
        source_subject=SUBJECT,
        source_sequence=number,
        stage="push",
        lane="high",
        tenant_id="demo",
        reason="unhandled_error",
        body=b"%d" % number,
        headers={"traceparent": "00-a-b-01", "Nats-Msg-Id": "old"},
    )
    letter.MergeFrom(DeadLetter(**changes))
    await streams.dead_letters.put(letter)


async def test_the_same_letter_is_kept_once(streams):
    await put(streams, 1)
    await put(streams, 1)

    assert len((await streams.dead_letters.page()).letters) == 1


async def test_a_failed_message_is_kept_whole(streams):
    failed = Inbound(
        subject="events.router",
        data=b"\x00\xff",
        headers={"a": "b", "Clarion-Tenant": "demo"},
        stream="EVENTS",
        sequence=9,
        deliveries=5,
        stored_time=NOW,
    )
    await streams.dead_letters.put_failed(failed, ValueError("no"), NOW)
    (stored,) = (await streams.dead_letters.page()).letters

    assert stored.letter.body == b"\x00\xff"
    assert stored.letter.headers["a"] == "b"
    assert stored.letter.tenant_id == "demo"
    assert (stored.letter.stage, stored.letter.lane) == ("events", "router")
    assert stored.letter.failed_time.ToDatetime(UTC) == NOW
    assert stored.letter.dead_letter_id == "EVENTS:9"


async def test_letters_are_read_page_by_page_in_order(streams):
    for number in range(1, 6):
        await put(streams, number)
    pages = [await streams.dead_letters.page(page_size=2)]
    while pages[-1].next_after:
        pages.append(
            await streams.dead_letters.page(after=pages[-1].next_after, page_size=2)
        )

    bodies = [stored.letter.body for page in pages for stored in page.letters]
    assert bodies == [b"1", b"2", b"3", b"4", b"5"]


@pytest.mark.parametrize(
    ("which", "found"),
    [
        (DeadLetterFilter(), {b"1", b"2", b"3", b"4"}),
        (DeadLetterFilter(stage="email"), {b"2"}),
        (DeadLetterFilter(lane="low"), {b"3"}),
        (DeadLetterFilter(tenant_id="other"), {b"4"}),
        (DeadLetterFilter(reason="max_deliveries"), {b"3"}),
        (DeadLetterFilter(stage="push", reason="unhandled_error"), {b"1", b"4"}),
    ],
    ids=["all", "stage", "lane", "tenant", "reason", "both"],
)
async def test_letters_are_filtered(streams, which, found):
    await put(streams, 1)
    await put(streams, 2, stage="email")
    await put(streams, 3, lane="low", reason="max_deliveries")
    await put(streams, 4, tenant_id="other")
    page = await streams.dead_letters.page(which)

    assert {stored.letter.body for stored in page.letters} == found


async def test_redriving_sends_the_message_to_its_origin_without_old_ids(
    streams, consume
):
    arrived: asyncio.Queue[Inbound] = asyncio.Queue()

    async def handle(messages) -> None:
        for message in messages:
            arrived.put_nowait(message)

    await put(streams, 1)
    assert await streams.dead_letters.redrive_all() == 1
    await consume(handle)
    message = await asyncio.wait_for(arrived.get(), 5)

    assert message.subject == SUBJECT
    assert message.data == b"1"
    assert message.headers["traceparent"] == "00-a-b-01"
    assert message.headers["Nats-Msg-Id"] == "redrive:WORK:1:1"


async def test_redriving_the_same_letter_twice_sends_once(streams, pending):
    await put(streams, 1)
    (stored,) = (await streams.dead_letters.page()).letters
    await asyncio.gather(
        streams.dead_letters.redrive(stored), streams.dead_letters.redrive(stored)
    )
    await streams.dead_letters.redrive(stored)

    assert await pending("WORK") == 1
    assert await pending("DLQ") == 0
    assert await streams.dead_letters.redrive_all() == 0


async def test_only_what_matches_is_redriven(streams, pending):
    await put(streams, 1)
    await put(streams, 2, reason="max_deliveries")
    which = DeadLetterFilter(reason="max_deliveries")

    assert await streams.dead_letters.redrive_all(which) == 1
    assert await pending("DLQ") == 1


async def test_a_message_that_kills_its_workers_ends_in_the_dead_letters(
    streams, emptied, pending
):
    spec = DurableSpec(
        "push-high",
        "WORK",
        SUBJECT,
        ack_wait=timedelta(milliseconds=300),
        max_deliver=2,
    )
    await declare_durable(streams.js, spec)
    await streams.publisher.publish(
        SUBJECT, b"killer", message_id="a", headers={"Clarion-Tenant": "demo"}
    )
    worker = AdvisoryWorker(streams)
    await worker.start()
    # A worker that takes it and dies never answers.
    taken = await streams.nc.subscribe("taken")
    await streams.nc.publish(
        "$JS.API.CONSUMER.MSG.NEXT.WORK.push-high", b"5", reply="taken"
    )
    await emptied("WORK")
    await worker.stop()
    await taken.unsubscribe()

    (stored,) = (await streams.dead_letters.page()).letters
    assert stored.letter.body == b"killer"
    assert stored.letter.reason == "max_deliveries"
    assert stored.letter.deliveries == 2
    assert stored.letter.tenant_id == "demo"
    assert stored.letter.dead_letter_id == "WORK:1"
