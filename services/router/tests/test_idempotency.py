from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from time import perf_counter
from typing import Any

import pytest

from clarion.router.idempotency import (
    IdempotencyKeys,
    InMemoryIdempotencyKeys,
    KeyedBody,
    Use,
    digest_of,
)
from clarion.router.settings import Settings
from clarion.router.valkey_keys import RESERVED_FOR, ValkeyIdempotencyKeys
from clarion.runtime.breaker import Breaker
from clarion.runtime.clock import SystemClock
from clarion.runtime.errors import UnavailableError
from clarion.runtime.keys import idempotency_key
from clarion.runtime.testing import wait_until
from clarion.runtime.valkey import open_client

WINDOW = Settings().idempotency_window
# Of the contract, which is not about time: this machine may be busy.
PATIENCE = timedelta(seconds=5)


def breaker(patience: timedelta = PATIENCE) -> Breaker:
    return Breaker("valkey", patience, timedelta(milliseconds=200), SystemClock())


@pytest.fixture
async def redis(valkey: Any) -> AsyncIterator[Any]:
    client = open_client(valkey.url)
    yield client
    await client.aclose()


@pytest.fixture(params=["in memory", "valkey"])
def keys(request: pytest.FixtureRequest) -> IdempotencyKeys:
    if request.param == "in memory":
        return InMemoryIdempotencyKeys()
    client = request.getfixturevalue("redis")
    return ValkeyIdempotencyKeys(client, WINDOW, breaker())


@pytest.fixture
def body() -> KeyedBody:
    return KeyedBody("demo", str(uuid.uuid4()), "a" * 32)


@pytest.fixture
def other(body: KeyedBody) -> KeyedBody:
    return KeyedBody(body.tenant, body.notification_id, "b" * 32)


async def test_a_new_key_is_new_and_then_repeated(
    keys: IdempotencyKeys, body: KeyedBody
) -> None:
    assert await keys.reserve([body]) == [Use.NEW]
    assert await keys.reserve([body]) == [Use.REPEATED]


async def test_a_stored_body_is_known_as_stored(
    keys: IdempotencyKeys, body: KeyedBody, other: KeyedBody
) -> None:
    await keys.reserve([body])
    await keys.confirm([body])
    assert await keys.reserve([body, other, body]) == [
        Use.STORED,
        Use.REUSED,
        Use.STORED,
    ]


async def test_bodies_of_one_call_are_judged_in_order(
    keys: IdempotencyKeys, body: KeyedBody, other: KeyedBody
) -> None:
    found = await keys.reserve([body, other, body])
    assert found == [Use.NEW, Use.REUSED, Use.REPEATED]


async def test_a_refused_body_leaves_the_key_to_another(
    keys: IdempotencyKeys, body: KeyedBody, other: KeyedBody
) -> None:
    await keys.reserve([body])
    await keys.forget([body])
    assert await keys.reserve([other]) == [Use.NEW]


async def test_what_was_reserved_twice_or_stored_or_is_anothers_is_not_forgotten(
    keys: IdempotencyKeys, body: KeyedBody, other: KeyedBody
) -> None:
    await keys.reserve([body])
    await keys.forget([other])
    await keys.reserve([body])
    await keys.forget([body])
    assert await keys.reserve([other]) == [Use.REUSED]
    await keys.confirm([body])
    await keys.forget([body])
    assert await keys.reserve([body]) == [Use.STORED]


async def test_tenants_do_not_share_keys(
    keys: IdempotencyKeys, body: KeyedBody
) -> None:
    await keys.reserve([body])
    foreign = KeyedBody("other", body.notification_id, body.digest)
    assert await keys.reserve([foreign]) == [Use.NEW]


async def test_of_concurrent_reservations_one_is_new(
    keys: IdempotencyKeys, body: KeyedBody
) -> None:
    found = await asyncio.gather(*(keys.reserve([body]) for _ in range(20)))
    assert sum(use == [Use.NEW] for use in found) == 1


async def test_a_reservation_is_short_and_a_stored_body_lasts_for_the_window(
    redis: Any, body: KeyedBody
) -> None:
    keys = ValkeyIdempotencyKeys(redis, WINDOW, breaker())
    key = idempotency_key(body.tenant, body.notification_id)
    await keys.reserve([body])
    assert 0 < await redis.pttl(key) <= RESERVED_FOR.total_seconds() * 1000
    await keys.confirm([body])
    assert await redis.pttl(key) > 0.99 * WINDOW.total_seconds() * 1000
    assert timedelta(days=30) <= WINDOW
    # A repetition neither ends it sooner nor makes it last.
    await redis.pexpire(key, timedelta(days=28))
    assert await keys.reserve([body]) == [Use.STORED]
    assert await redis.pttl(key) > 27 * 86_400_000


async def test_a_key_costs_little_memory(redis: Any) -> None:
    keys = ValkeyIdempotencyKeys(redis, WINDOW, breaker())
    await redis.flushall()
    before = (await redis.info("memory"))["used_memory"]
    count = 5000
    for _ in range(count // 500):
        bodies = [
            KeyedBody("demo", str(uuid.uuid4()), uuid.uuid4().hex) for _ in range(500)
        ]
        await keys.reserve(bodies)
        await keys.confirm(bodies)
    after = (await redis.info("memory"))["used_memory"]
    assert (after - before) / count < 300


async def test_a_restarted_valkey_is_used_again(own_valkey: Any) -> None:
    redis = open_client(own_valkey.url)
    keys = ValkeyIdempotencyKeys(redis, WINDOW, breaker(timedelta(seconds=1)))
    body = KeyedBody("demo", "n", "a" * 32)
    await keys.reserve([body])
    await keys.confirm([body])
    await own_valkey.stop()
    with pytest.raises(UnavailableError):
        await keys.reserve([body])
    await own_valkey.start()

    found: list[Use] = []

    async def ask() -> None:
        while not found:
            try:
                found.extend(await keys.reserve([body]))
            except UnavailableError:
                await asyncio.sleep(0.02)

    await asyncio.wait_for(ask(), 5)
    assert found == [Use.STORED]
    await redis.aclose()


async def test_a_valkey_that_hangs_costs_a_tenth_of_a_second_and_then_nothing(
    own_valkey: Any,
) -> None:
    redis = open_client(own_valkey.url)
    guard = breaker(timedelta(milliseconds=100))
    keys = ValkeyIdempotencyKeys(redis, WINDOW, guard)
    body = KeyedBody("demo", "n", "a" * 32)
    await keys.reserve([body])
    os.kill(own_valkey.pid, signal.SIGSTOP)
    try:
        start = perf_counter()
        with pytest.raises(UnavailableError):
            await keys.reserve([body])
        first = perf_counter() - start
        for _ in range(100):
            with pytest.raises(UnavailableError):
                await keys.confirm([body])
        rest = perf_counter() - start - first
    finally:
        os.kill(own_valkey.pid, signal.SIGCONT)
    assert first < 0.5
    assert rest < 1
    assert guard.is_open

    async def answers() -> Any:
        while True:
            try:
                return await keys.reserve([body])
            except UnavailableError:
                await asyncio.sleep(0.02)

    assert await asyncio.wait_for(answers(), 5) == [Use.REPEATED]
    await wait_until(lambda: not guard.is_open)
    await redis.aclose()


def test_equal_bodies_have_equal_digests(notify: Any) -> None:
    made = [notify(data={"a": 1, "b": [2]}, tags={"x": "1", "y": "2"}) for _ in "12"]
    assert digest_of(made[0]) == digest_of(made[1])
    assert digest_of(made[0]) != digest_of(notify())
