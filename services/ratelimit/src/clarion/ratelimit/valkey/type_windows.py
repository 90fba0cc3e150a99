"""The windows of types in Valkey: a hash per tenant."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta

from redis.asyncio import Redis

from clarion.ratelimit.type_windows import Windows, is_over
from clarion.ratelimit.valkey.errors import valkey_errors
from clarion.ratelimit.valkey.keys import type_windows_key
from clarion.ratelimit.valkey.replies import text
from clarion.ratelimit.window import Window

_TTL = timedelta(days=400)
"""Longer than any window: what is over goes before."""


class ValkeyTypeWindows:
    """Implements TypeWindows."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def put(self, tenant: str, windows: Mapping[str, Windows], now: int) -> None:
        key = type_windows_key(tenant)
        values = {type_: _encoded(own, now) for type_, own in windows.items()}
        with valkey_errors():
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.hset(key, mapping=values)
                pipeline.pexpire(key, _TTL)
                await pipeline.execute()

    async def get(self, tenant: str, now: int) -> Mapping[str, Windows]:
        key = type_windows_key(tenant)
        with valkey_errors():
            stored = await self._redis.hgetall(key)
            found = {text(type_): raw for type_, raw in stored.items()}
            kept = {type_: _decoded(type_, raw) for type_, raw in found.items()}
            over = [type_ for type_, own in kept.items() if is_over(*own, now)]
            if over:
                await self._redis.hdel(key, *over)
        return {type_: kept[type_][0] for type_ in kept.keys() - set(over)}


def _encoded(windows: Windows, now: int) -> str:
    return json.dumps([now, [[window.span, window.most] for window in windows]])


def _decoded(type_: str, raw: bytes | str) -> tuple[Windows, int]:
    sent, windows = json.loads(raw)
    policy_id = f"type:{type_}"
    return tuple(Window(span, most, policy_id) for span, most in windows), sent
