"""Permits in Valkey: a sorted set per person and category, judged by one script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from hashlib import sha1
from importlib import resources
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from clarion.ratelimit.ports import Permit, peeked
from clarion.ratelimit.valkey.errors import valkey_errors
from clarion.ratelimit.valkey.keys import categories_key, permits_prefix
from clarion.ratelimit.window import DAILY, DAY, WEEK, WEEKLY, Usage, Verdict

_SCRIPT = (resources.files(__package__) / "acquire.lua").read_text(encoding="utf-8")
_SHA = sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
_EXCEEDED = ("", DAILY, WEEKLY)

_TTL = timedelta(days=8)
"""A week and a day: the day is for clocks of replicas that do not agree."""
_MAX_CATEGORIES = 1000
"""Categories remembered per tenant, those used last."""
_REMEMBER_AGAIN = timedelta(hours=1) // timedelta(microseconds=1)
_MAX_REMEMBERED = 100_000


class ValkeyPermitStore:
    """Implements PermitStore.

    ``chunk`` items go into one call of the script, which no other client's command can
    interrupt; the calls of one batch are pipelined.
    """

    def __init__(self, redis: Redis, *, chunk: int = 500) -> None:
        self._redis = redis
        self._chunk = chunk
        self._remembered: dict[tuple[str, str], int] = {}

    async def acquire(
        self, tenant: str, permits: Sequence[Permit], now: int
    ) -> list[Verdict]:
        if not permits:
            return []
        calls = [
            _script_call(tenant, permits[start : start + self._chunk], now)
            for start in range(0, len(permits), self._chunk)
        ]
        unseen = self._unseen(tenant, {permit.category for permit in permits}, now)
        with valkey_errors():
            if unseen:
                await self._remember(tenant, unseen, now)
            replies = await self._run(calls)
        return [verdict for reply in replies for verdict in _verdicts(reply)]

    async def _run(self, calls: Sequence[Sequence[Any]]) -> list[list[int]]:
        try:
            return await self._pipeline(calls)
        except NoScriptError:
            # A restarted or flushed server. Chunks that another process's load let
            # through meanwhile are judged again: their permits are theirs already.
            await self._redis.script_load(_SCRIPT)
            return await self._pipeline(calls)

    async def _pipeline(self, calls: Sequence[Sequence[Any]]) -> list[list[int]]:
        if len(calls) == 1:
            return [await self._redis.execute_command(*calls[0])]
        async with self._redis.pipeline(transaction=False) as pipeline:
            for call in calls:
                pipeline.execute_command(*call)
            replies: list[list[int]] = await pipeline.execute()
        return replies

    def _unseen(self, tenant: str, categories: set[str], now: int) -> list[str]:
        edge = now - _REMEMBER_AGAIN
        return [
            category
            for category in categories
            if self._remembered.get((tenant, category), 0) <= edge
        ]

    async def _remember(self, tenant: str, categories: list[str], now: int) -> None:
        key = categories_key(tenant)
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.zadd(key, dict.fromkeys(categories, now))
            pipeline.zremrangebyscore(key, "-inf", now - WEEK - DAY)
            pipeline.zremrangebyrank(key, 0, -_MAX_CATEGORIES - 1)
            pipeline.pexpire(key, _TTL)
            await pipeline.execute()
        if len(self._remembered) > _MAX_REMEMBERED:
            self._remembered.clear()
        for category in categories:
            self._remembered[tenant, category] = now

    async def peek(
        self, tenant: str, permits: Sequence[Permit], now: int
    ) -> list[Verdict]:
        if not permits:
            return []
        prefix = permits_prefix(tenant)
        with valkey_errors():
            async with self._redis.pipeline(transaction=False) as pipeline:
                for permit in permits:
                    key = f"{prefix}{permit.category}/{permit.user_id}"
                    pipeline.zrange(key, 0, -1, withscores=True)
                found = await pipeline.execute()
        return [
            peeked({_text(id): int(time) for id, time in taken}, permit, now)
            for permit, taken in zip(permits, found, strict=True)
        ]

    async def release(self, tenant: str, permits: Sequence[Permit]) -> int:
        prefix = permits_prefix(tenant)
        released = 0
        with valkey_errors():
            for start in range(0, len(permits), self._chunk):
                async with self._redis.pipeline(transaction=False) as pipeline:
                    for permit in permits[start : start + self._chunk]:
                        key = f"{prefix}{permit.category}/{permit.user_id}"
                        pipeline.zrem(key, permit.request_id)
                    released += sum(await pipeline.execute())
        return released

    async def usage(
        self, tenant: str, user_id: str, categories: Iterable[str], now: int
    ) -> dict[str, Usage]:
        asked = set(categories)
        with valkey_errors():
            seen = await self._redis.zrange(categories_key(tenant), 0, -1)
            names = sorted(asked | {_text(category) for category in seen})
            async with self._redis.pipeline(transaction=False) as pipeline:
                for name in names:
                    key = f"{permits_prefix(tenant)}{name}/{user_id}"
                    pipeline.zcount(key, f"({now - DAY}", "+inf")
                    pipeline.zcount(key, f"({now - WEEK}", "+inf")
                counts = await pipeline.execute()
        found = dict(zip(names, map(Usage, counts[::2], counts[1::2]), strict=True))
        return {
            name: used for name, used in found.items() if used.weekly or name in asked
        }


def _script_call(tenant: str, permits: Sequence[Permit], now: int) -> list[Any]:
    prefix = permits_prefix(tenant)
    call: list[Any] = ["EVALSHA", _SHA, len(permits)]
    call += [f"{prefix}{permit.category}/{permit.user_id}" for permit in permits]
    call += (now, now - DAY, now - WEEK, _TTL // timedelta(milliseconds=1))
    for request_id, _, _, limit in permits:
        call += (request_id, *limit)
    return call


def _verdicts(reply: list[int]) -> Iterable[Verdict]:
    # Verdicts are flat in the reply: four numbers each.
    return [
        Verdict(not state, daily, weekly, _EXCEEDED[state], available)
        for state, daily, weekly, available in zip(
            reply[::4], reply[1::4], reply[2::4], reply[3::4], strict=True
        )
    ]


def _text(value: bytes | str) -> str:
    # Replies are bytes or text by the client's settings, which are not ours.
    return value.decode() if isinstance(value, bytes) else value
