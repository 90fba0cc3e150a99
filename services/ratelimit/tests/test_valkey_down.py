from __future__ import annotations

import pytest

from clarion.client.embedded.servers import ValkeyServer
from clarion.ratelimit.ports import Permit
from clarion.ratelimit.valkey.permit_store import ValkeyPermitStore
from clarion.ratelimit.valkey.policy_store import ValkeyPolicyStore
from clarion.ratelimit.window import Limit
from clarion.runtime.errors import UnavailableError
from clarion.runtime.valkey import open_client

pytestmark = pytest.mark.integration

PERMITS = [Permit("r", "u", "news", Limit(1, 1))]


@pytest.fixture
async def valkey_url(tmp_path):
    """Of a server of its own: these tests change how it works."""
    async with ValkeyServer(tmp_path / "own") as server:
        yield server.url


async def test_nothing_is_allowed_while_valkey_is_down(tmp_path):
    async with ValkeyServer(tmp_path) as server:
        redis = open_client(server.url)
        store, policies = ValkeyPermitStore(redis), ValkeyPolicyStore(redis)
        await store.acquire("t", PERMITS, 1)
    for call in (
        lambda: store.acquire("t", PERMITS, 1),
        lambda: store.release("t", PERMITS),
        lambda: store.usage("t", "u", ["news"], 1),
        lambda: policies.get("t"),
    ):
        with pytest.raises(UnavailableError):
            await call()
    await redis.aclose()


async def test_a_valkey_that_is_out_of_memory_is_unavailable(redis):
    await redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(UnavailableError):
            await ValkeyPermitStore(redis).acquire("t", PERMITS, 1)
    finally:
        await redis.config_set("maxmemory", 0)


async def test_a_valkey_that_became_a_replica_is_unavailable(redis):
    await ValkeyPermitStore(redis).acquire("t", PERMITS, 1)
    await redis.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        with pytest.raises(UnavailableError):
            await ValkeyPermitStore(redis).acquire("t", PERMITS, 1)
    finally:
        await redis.execute_command("REPLICAOF", "NO", "ONE")
