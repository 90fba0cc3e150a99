from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from clarion.runtime.delivery.many_keys import ManyKeys
from clarion.runtime.errors import UnavailableError
from clarion.runtime.valkey import open_client

pytestmark = pytest.mark.integration

KEYS = ["{many}:a", "{many}:b"]


class Otherwise:
    """Sets them one by one."""

    def __init__(self, redis: Redis) -> None:
        self.asked = 0
        self._redis: Any = redis

    async def __call__(self, keys: Sequence[str], values: Sequence[bytes]) -> None:
        self.asked += 1
        for key, value in zip(keys, values, strict=True):
            await self._redis.set(key, value, px=60_000)


async def test_keys_are_set_at_once_whatever_they_held(redis: Redis) -> None:
    otherwise = Otherwise(redis)
    many = ManyKeys(redis, 60_000, otherwise)
    for values in ([b"1", b"2"], [b"3", b"\xff \x00"]):
        await many.set(KEYS, values)
        assert await redis.mget(KEYS) == values
    assert 59_000 < await redis.pttl(KEYS[1]) <= 60_000
    assert otherwise.asked == 0


async def test_a_server_without_the_command_is_asked_otherwise(
    older_redis: Redis,
) -> None:
    otherwise = Otherwise(older_redis)
    many = ManyKeys(older_redis, 60_000, otherwise)
    for values in ([b"1", b"2"], [b"3", b"4"]):
        await many.set(KEYS, values)
        assert await older_redis.mget(KEYS) == values
    assert otherwise.asked == 2


async def test_without_a_server_nothing_else_is_tried(unused_tcp_port: int) -> None:
    client = open_client(f"redis://127.0.0.1:{unused_tcp_port}/0")
    otherwise = Otherwise(client)
    with pytest.raises(UnavailableError):
        await ManyKeys(client, 60_000, otherwise).set(KEYS, [b"1", b"2"])
    assert otherwise.asked == 0
    await client.aclose()
