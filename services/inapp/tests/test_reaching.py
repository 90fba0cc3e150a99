"""Reads that stop escalations, with Valkey and without."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from clarion.api.inapp.v1 import inbox_service_pb2 as pb
from clarion.api.inapp.v1.inbox_service_pb2_grpc import InboxServiceStub
from clarion.client.embedded.servers import ValkeyServer
from clarion.inapp import reaching
from clarion.inapp.reaching import Reaching
from clarion.inapp.unmarked import InMemoryUnmarked, PostgresUnmarked
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
    reached, unmarked = InMemoryReached(), InMemoryUnmarked()
    await Reaching(reached, unmarked).read("demo", ["a", "b"])
    assert reached.marks == [("demo", "a", "read"), ("demo", "b", "read")]
    assert not unmarked.kept


async def test_a_mark_that_cannot_be_stored_is_stored_later():
    reached, unmarked = InMemoryReached(), InMemoryUnmarked()
    reached.error = UnavailableError("away")
    one = Reaching(reached, unmarked)
    async with running(one):
        await one.read("demo", ["a", "b"])
        await one.read("bank", ["c"])
        await one.read("demo", ["a"])
        assert unmarked.kept == {"demo": {"a", "b"}, "bank": {"c"}}
        reached.error = None
        await wait_until(lambda: not any(unmarked.kept.values()))
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

    unmarked = InMemoryUnmarked()
    async with asyncio.timeout(5):
        await Reaching(Hanging(), unmarked).read("demo", ["a"])
    assert unmarked.kept == {"demo": {"a"}}


async def test_what_can_neither_be_marked_nor_kept_is_told_to_the_reader():
    class Away(InMemoryUnmarked):
        async def keep(self, tenant, notification_ids):
            raise UnavailableError("away")

    reached = InMemoryReached()
    reached.error = UnavailableError("away")
    with pytest.raises(UnavailableError):
        await Reaching(reached, Away()).read("demo", ["a"])


async def test_what_a_killed_process_left_is_marked_by_the_next_one(pool):
    away = InMemoryReached()
    away.error = UnavailableError("away")
    ids = {tenant: [str(uuid4()) for _ in range(700)] for tenant in ("demo", "bank")}
    killed = Reaching(away, PostgresUnmarked(pool))
    for tenant, own in ids.items():
        await killed.read(tenant, own)
        await killed.read(tenant, own[:3])
    reached, unmarked = InMemoryReached(), PostgresUnmarked(pool)
    async with running(Reaching(reached, unmarked)):
        async with asyncio.timeout(10):
            while await unmarked.some(1):  # noqa: ASYNC110 - a server's
                await asyncio.sleep(0.01)
    assert sorted(reached.marks) == sorted(
        (tenant, id, "read") for tenant, own in ids.items() for id in own
    )


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
