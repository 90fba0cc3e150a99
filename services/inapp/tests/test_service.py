"""The in_app channel from the work queue to the person's watch."""

from __future__ import annotations

import asyncio
import json
import uuid

import grpc
import pytest

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_READ,
    EVENT_KIND_SENT,
    EventChunk,
)
from clarion.api.event.v1.work_pb2 import DeliveryChunk
from clarion.api.inapp.v1 import inbox_service_pb2 as pb
from clarion.api.inapp.v1.inbox_service_pb2_grpc import InboxServiceStub
from clarion.runtime.streams import work_subject
from clarion.runtime.testing import refused, wait_until


async def deliver(service, *jobs) -> None:
    chunk = DeliveryChunk(jobs=jobs).SerializeToString()
    await service.streams.publisher.publish(
        work_subject("in_app", "high"), chunk, message_id=uuid.uuid4().hex
    )


async def events_of(service, notification_id: str) -> list[int]:
    found = []

    async def take(message) -> None:
        for event in EventChunk.FromString(message.data).events:
            if event.notification_id == notification_id:
                found.append(event.kind)

    subscription = await service.streams.nc.subscribe("events.>", cb=take)
    return found, subscription


async def test_a_job_becomes_an_item_and_an_event(service, channel, owner, job):
    one = job()
    found, _ = await events_of(service, one.notification_id)

    await deliver(service, one, one)

    stub = InboxServiceStub(channel)
    await wait_until(lambda: EVENT_KIND_SENT in found)
    response = await stub.ListInbox(pb.ListInboxRequest(user_id=owner.user_id))
    assert [item.item_id for item in response.items] == [one.delivery_id]
    assert response.counts.unread == 1


async def test_reading_an_item_is_told_to_the_mesh(service, channel, owner, job):
    one = job()
    found, _ = await events_of(service, one.notification_id)
    await deliver(service, one)
    await wait_until(lambda: EVENT_KIND_SENT in found)

    response = await InboxServiceStub(channel).MarkInboxItems(
        pb.MarkInboxItemsRequest(
            user_id=owner.user_id, item_ids=[one.delivery_id], mark="read"
        )
    )

    assert response.counts.unread == 0
    await wait_until(lambda: EVENT_KIND_READ in found)


async def test_a_watch_resumes_without_a_gap(service, channel, owner, job):
    stub = InboxServiceStub(channel)
    titles = []
    for number in range(3):
        await deliver(service, job(f"before {number}"))

    async def read(after: int, wanted: int) -> int:
        call = stub.WatchInbox(
            pb.WatchInboxRequest(user_id=owner.user_id, after_version=after)
        )
        async for change in call:
            titles.append(change.item.title)
            if len(titles) == wanted:
                call.cancel()
                return change.item.version
        raise AssertionError("the watch ended")

    version = await asyncio.wait_for(read(0, 3), 10)
    await deliver(service, job("between"))
    watching = asyncio.create_task(read(version, 5))
    await wait_until(lambda: "between" in titles)
    await deliver(service, job("after"))
    await asyncio.wait_for(watching, 10)

    assert sorted(titles) == ["after", "before 0", "before 1", "before 2", "between"]


async def test_server_sent_events_resume_from_the_last_id(service, channel, owner, job):
    await deliver(service, job("first"), job("second"))
    stub = InboxServiceStub(channel)

    async def events(last_id: str, wanted: int) -> list[str]:
        call = stub.StreamInbox(
            pb.StreamInboxRequest(user_id=owner.user_id),
            metadata=(("last-event-id", last_id),),
        )
        found = []
        async for part in call:
            text = part.data.decode()
            if text.startswith("id:"):
                found.append(text)
            if len(found) == wanted:
                call.cancel()
                return found
        raise AssertionError("the stream ended")

    first = (await asyncio.wait_for(events("0", 2), 10))[0]
    fields = dict(line.split(": ", 1) for line in first.strip().splitlines())
    rest = await asyncio.wait_for(events(fields["id"], 1), 10)

    assert fields["event"] == "item"
    assert json.loads(fields["data"])["counts"]["unread"] == 2
    assert '"items":20,' in fields["data"].replace("}", ",")
    assert "second" in rest[0]


async def test_a_watch_ends_when_the_service_stops(service, channel, owner):
    call = InboxServiceStub(channel).StreamInbox(
        pb.StreamInboxRequest(user_id=owner.user_id)
    )
    parts = []

    async def read() -> None:
        async for part in call:
            parts.append(part.data)

    reading = asyncio.create_task(read())
    await wait_until(lambda: parts)
    service.stopping.set()
    await asyncio.wait_for(reading, 10)

    assert parts[-1].startswith(b"event: end")


BAD = [
    (pb.ListInboxRequest(user_id=""), "ListInbox", "user_id"),
    (pb.ListInboxRequest(user_id="u", filter="odd"), "ListInbox", "filter"),
    (pb.ListInboxRequest(user_id="u", page_token="odd"), "ListInbox", "page_token"),
    (pb.MarkInboxItemsRequest(user_id="u", mark="gone"), "MarkInboxItems", "mark"),
    (
        pb.MarkInboxItemsRequest(user_id="u", mark="read", item_ids=["x"]),
        "MarkInboxItems",
        "item_ids[0]",
    ),
]


@pytest.mark.parametrize(("request_", "rpc", "field"), BAD, ids=lambda v: str(v)[:20])
async def test_a_bad_request_names_its_field(channel, request_, rpc, field):
    with refused() as refusal:
        await getattr(InboxServiceStub(channel), rpc)(request_)

    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert field in refusal.fields
