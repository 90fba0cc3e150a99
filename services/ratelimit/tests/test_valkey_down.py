from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from clarion.api.ratelimit.v1 import rate_limit_service_pb2 as pb
from clarion.api.ratelimit.v1 import rate_limit_service_pb2_grpc as rpc
from clarion.client.embedded.servers import ValkeyServer
from clarion.ratelimit.app import build
from clarion.ratelimit.in_memory import InMemoryPolicyStore
from clarion.ratelimit.limit_policy import LimitPolicy
from clarion.ratelimit.limiting import RateLimiter, Wanted
from clarion.ratelimit.policy import Asked, PartialLimit
from clarion.ratelimit.ports import Permit
from clarion.ratelimit.settings import Settings
from clarion.ratelimit.valkey.permit_store import ValkeyPermitStore
from clarion.ratelimit.valkey.policy_store import ValkeyPolicyStore
from clarion.ratelimit.window import Limit, Refusal, Verdict
from clarion.runtime.caller import as_tenant
from clarion.runtime.errors import UnavailableError
from clarion.runtime.service import Service
from clarion.runtime.settings import RuntimeSettings
from clarion.runtime.testing import FakeClock, wait_until
from clarion.runtime.testing.grpc_harness import TENANT, mesh_channel
from clarion.runtime.valkey import open_client

pytestmark = pytest.mark.integration

PERMITS = [Permit("r", "u", "news", Limit(1, 1))]


@pytest.fixture
async def valkey_url(tmp_path):
    """Of a server of its own: these tests change how it works."""
    async with ValkeyServer(tmp_path / "own") as server:
        yield server.url


async def test_the_stores_are_unavailable_while_valkey_is_down(tmp_path):
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


def wanted(*ids, category="news", asked=None):
    return [Wanted(id, "u", category, None, asked) for id in ids]


async def test_what_cannot_be_counted_is_decided_by_policy_until_valkey_is_back(
    tmp_path,
):
    clock = FakeClock()
    async with ValkeyServer(tmp_path) as server:
        redis = open_client(server.url)
        store, policies = ValkeyPermitStore(redis), ValkeyPolicyStore(redis)
        limiter = RateLimiter(store, policies, clock)
        await limiter.put_policy("t", "news", PartialLimit(daily=1))
        await limiter.put_scoped(
            "t", LimitPolicy("sms", channel="sms", on_failure="closed")
        )
        assert await limiter.looks_closely("t")
        [before] = await limiter.acquire("t", wanted("a"))
        assert before == Verdict(True, 1, 1)
        await server.stop()

        clock.advance(timedelta(seconds=5))
        # What was known of the policies still holds.
        assert await limiter.looks_closely("t")
        ask = wanted("b") + wanted("c", category="promotional")
        ask += wanted("d", asked=Asked("a", ("push", "sms")))
        ask += wanted("e", asked=Asked("a", ("sms",)))
        none = PartialLimit(daily=0)
        ask += [Wanted("f", "u", "news", none)]
        waits = (Refusal("sms", unchecked=True),)
        expected = [
            Verdict(True, 0, 0, unchecked=True),
            Verdict(False, 0, 0, unchecked=True),
            Verdict(True, 0, 0, unchecked=True, refusals=waits),
            Verdict(False, 0, 0, unchecked=True, refusals=waits),
            # None at all needs no counting.
            Verdict(False, 0, 0, "daily", 0, "personal:news"),
        ]
        assert await limiter.acquire("t", ask) == expected
        assert await limiter.peek("t", ask) == expected
        with pytest.raises(UnavailableError):
            await limiter.release("t", ask)
        with pytest.raises(UnavailableError):
            await limiter.usage("t", "u")

        await server.start()
        clock.advance(timedelta(seconds=5))
        [full] = await limiter.acquire("t", wanted("b"))
        assert (full.allowed, full.unchecked, full.exceeded) == (False, False, "daily")
    await redis.aclose()


class Counted(ValkeyPermitStore):
    """Counts how often it is asked."""

    asked = 0

    async def acquire(self, tenant, permits, now):
        self.asked += 1
        return await super().acquire(tenant, permits, now)


async def test_a_dead_valkey_is_left_alone_for_a_second(tmp_path):
    clock = FakeClock()
    async with ValkeyServer(tmp_path) as server:
        redis = open_client(server.url)
    store = Counted(redis)
    limiter = RateLimiter(store, InMemoryPolicyStore(), clock)
    for _ in range(10):
        [verdict] = await limiter.acquire("t", wanted("a"))
        assert verdict.unchecked
    assert store.asked == 1
    clock.advance(timedelta(seconds=1))
    await limiter.acquire("t", wanted("a"))
    assert store.asked == 2
    await redis.aclose()


async def test_many_calls_at_once_do_not_look_like_a_dead_valkey(redis):
    limiter = RateLimiter(
        ValkeyPermitStore(redis), ValkeyPolicyStore(redis), FakeClock()
    )
    answers = await asyncio.gather(
        *(limiter.acquire(f"t{n}", wanted("a")) for n in range(200))
    )
    assert not any(verdict.unchecked for (verdict,) in answers)


async def test_the_service_answers_while_valkey_was_never_there(keys_file):
    settings = RuntimeSettings(
        api_keys_file=keys_file, listen="127.0.0.1:0", redis_url="redis://127.0.0.1:1"
    )
    service = Service("ratelimit", settings)
    await build(service, Settings())
    await service.start()
    await wait_until(lambda: service.health.serving, what="readiness")
    items = [
        pb.AcquireItem(request_id="r", user_id="u", category=category)
        for category in ("security", "order_updates", "promotional", "")
    ]
    async with mesh_channel(service.port) as opened:
        with as_tenant(TENANT):
            stub = rpc.RateLimitServiceStub(opened)
            answer = await stub.BatchAcquire(pb.BatchAcquireRequest(items=items))
    assert [result.allowed for result in answer.results] == [True, True, False, True]
    assert all(result.unchecked for result in answer.results)
    await service.stop()
