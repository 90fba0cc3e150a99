"""Reads that stop escalations, with Valkey and without."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from clarion.api.inapp.v1 import inbox_service_pb2 as pb
from clarion.api.inapp.v1.inbox_service_pb2_grpc import InboxServiceStub
from clarion.client.embedded.servers import ValkeyServer
from clarion.inapp import reaching
from clarion.inapp.reaching import Reaching
from clarion.runtime.delivery.reached import InMemoryReached
from clarion.runtime.errors import UnavailableError
from clarion.runtime.keys import escalation_key
from clarion.runtime.testing import INTERNAL_KEY, GrpcHarness, wait_until
from clarion.runtime.valkey import open_client


@asynccontextmanager
async def running(one: Reaching):
    task = asyncio.create_task(one.run())
    yield
    task.cancel()


async def test_what_is_read_is_marked_at_once_and_in_one_call():
    reached = InMemoryReached()
    one = Reaching(reached)
    await one.read("demo", ["a", "b"])
    assert reached.marks == [("demo", "a", "read"), ("demo", "b", "read")]
    assert one.waiting == 0


async def test_a_mark_that_cannot_be_stored_is_stored_later():
    reached = InMemoryReached()
    reached.error = UnavailableError("away")
    one = Reaching(reached)
    async with running(one):
        await one.read("demo", ["a", "b"])
        await one.read("bank", ["c"])
        await one.read("demo", ["a"])
        assert one.waiting == 3
        reached.error = None
        await wait_until(lambda: not one.waiting)
    assert sorted(reached.marks) == [
        ("bank", "c", "read"),
        ("demo", "a", "read"),
        ("demo", "b", "read"),
    ]


async def test_a_read_does_not_wait_for_a_server_that_hangs(monkeypatch):
    monkeypatch.setattr(reaching, "PATIENCE", 0.01)

    class Hanging(InMemoryReached):
        async def mark(self, tenant, notification_ids, how):
            await asyncio.Event().wait()

    one = Reaching(Hanging())
    async with asyncio.timeout(5):
        await one.read("demo", ["a"])
    assert one.waiting == 1


async def test_the_oldest_marks_are_given_up_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr(reaching, "MOST_KEPT", 3)
    reached = InMemoryReached()
    reached.error = UnavailableError("away")
    one = Reaching(reached)
    await one.read("demo", ["a", "b"])
    await one.read("demo", ["c", "d"])
    reached.error = None
    await one.close()
    assert [id for _, id, _ in reached.marks] == ["b", "c", "d"]


@pytest.fixture
async def own_valkey(tmp_path):
    async with ValkeyServer(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
def valkey_url(own_valkey):
    return own_valkey.url


async def test_the_inbox_is_read_without_valkey_and_the_mark_follows(
    service, owner, inbox, job, own_valkey
):
    one, other = job(), job()
    await inbox.add([one, other], datetime.now(UTC))
    client = open_client(own_valkey.url)
    keys = [escalation_key(owner.tenant, each.notification_id) for each in (one, other)]
    for key in keys:
        await client.hset(key, "due:1", 1)
    channel = GrpcHarness(service.port, service.health).channel(
        INTERNAL_KEY, owner.tenant
    )
    stub = InboxServiceStub(channel)

    async def read(*jobs) -> int:
        request = pb.MarkInboxItemsRequest(
            user_id=owner.user_id, item_ids=[j.delivery_id for j in jobs], mark="read"
        )
        answer = await stub.MarkInboxItems(request, timeout=10)
        return answer.counts.unread

    assert await read(one) == 1
    assert await client.hexists(keys[0], "read")
    await own_valkey.stop()
    assert await read(other) == 0
    await own_valkey.start()
    async with asyncio.timeout(20):
        while not await client.hexists(keys[1], "read"):  # noqa: ASYNC110 - a server's
            await asyncio.sleep(0.05)
    await client.aclose()
