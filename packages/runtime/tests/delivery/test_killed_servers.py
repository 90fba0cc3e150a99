"""Servers that are killed in the middle of a delivery: each test has its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from clarion.client.embedded.servers import NatsServer, ValkeyServer
from clarion.runtime.delivery.claims import Ask, Claims, ClaimState, Mark
from clarion.runtime.delivery.in_memory import ScriptedProvider, make_job
from clarion.runtime.errors import UnavailableError
from clarion.runtime.testing import wait_until

pytestmark = pytest.mark.integration

LONG = timedelta(seconds=30)


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path / "nats") as server:
        yield server


@pytest.fixture
def nats_url(nats: NatsServer) -> str:
    return nats.url


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[ValkeyServer]:
    async with ValkeyServer(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
def valkey_url(valkey: ValkeyServer) -> str:
    return valkey.url


async def test_a_crash_after_the_done_mark_folds_and_still_tells_sent(
    mesh: Any, nats: NatsServer, wait_for: Any
) -> None:
    provider, second = ScriptedProvider(), ScriptedProvider()
    job = make_job()
    await mesh.publish(job)
    provider.gate.clear()
    abandoned = await mesh.worker(provider, lease=LONG)
    await wait_until(lambda: provider.offered)
    await nats.kill()
    provider.gate.set()
    await wait_until(lambda: provider.sent)
    claims = mesh.claims()

    async def is_done() -> bool:
        [claim] = await claims.claim([Ask(job, "looks", False)])
        return claim.state.name == "DONE"

    await wait_for(is_done)
    stopping = asyncio.create_task(abandoned.crash())
    await nats.start()
    await stopping
    await mesh.worker(second)
    kinds = await mesh.until("SENT", "FOLDED", timeout=45)
    assert kinds.count("SENT") == 1
    assert (len(provider.sent), len(second.sent)) == (1, 0)


async def test_nothing_is_sent_unclaimed_while_valkey_is_down(
    mesh: Any, valkey: ValkeyServer
) -> None:
    provider = ScriptedProvider()
    await valkey.kill()
    running = await mesh.worker(provider)
    await mesh.publish(make_job())
    await wait_until(lambda: running.held.count)
    assert provider.sent == []
    await valkey.start()
    await mesh.until("SENT")
    assert len(provider.sent) == 1


async def test_results_wait_for_valkey_and_nothing_is_sent_again(
    mesh: Any, valkey: ValkeyServer
) -> None:
    provider = ScriptedProvider()
    provider.gate.clear()
    await mesh.publish(make_job())
    await mesh.worker(provider, lease=LONG)
    await wait_until(lambda: provider.offered)
    await valkey.kill()
    provider.gate.set()
    await wait_until(lambda: provider.sent)
    await valkey.start()
    await mesh.until("SENT")
    assert len(provider.sent) == 1


async def test_a_killed_server_is_unavailable_and_then_knows_the_claims(
    valkey: ValkeyServer, redis: Redis, wait_for: Any
) -> None:
    job, claims = make_job(), Claims(redis, lease=LONG)
    await claims.settle([Mark.done(job, "w1", b"x")])

    async def on_disk() -> bool:
        info = await redis.info("persistence")
        return bool(info["aof_pending_bio_fsync"] == 0)

    await wait_for(on_disk)
    asks = [Ask(job, "w2", False)]
    await valkey.kill()
    with pytest.raises(UnavailableError):
        await claims.claim(asks)
    await valkey.start()
    assert [claim.state for claim in await claims.claim(asks)] == [ClaimState.DONE]
