"""Permits in Valkey: a sorted set per person and counter, judged by a script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from hashlib import sha1
from importlib import resources
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from clarion.ratelimit.counters import Counter
from clarion.ratelimit.ports import Permit, judged
from clarion.ratelimit.valkey import counters_script
from clarion.ratelimit.valkey.errors import valkey_errors
from clarion.ratelimit.valkey.keys import categories_key, permits_prefix
from clarion.ratelimit.valkey.replies import text
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

    ``chunk`` items go into one call of a script, which no other client's command can
    interrupt; the calls of one batch are pipelined. A chunk in which any item has more
    counters than that of its category goes to the script for many.
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
        runs = [
            permits[start : start + self._chunk]
            for start in range(0, len(permits), self._chunk)
        ]
        has_more = [any([permit[4] for permit in run]) for run in runs]
        calls = [
            counters_script.call(permits_prefix(tenant), run, now)
            if more
            else _script_call(tenant, run, now)
            for run, more in zip(runs, has_more, strict=True)
        ]
        unseen = self._unseen(tenant, {permit.category for permit in permits}, now)
        with valkey_errors():
            if unseen:
                await self._remember(tenant, unseen, now)
            replies = await self._run(calls)
        return [
            verdict
            for run, more, reply in zip(runs, has_more, replies, strict=True)
            for verdict in (
                counters_script.verdicts(run, reply) if more else _verdicts(reply)
            )
        ]

    async def _run(self, calls: Sequence[Sequence[Any]]) -> list[list[int]]:
        try:
            return await self._pipeline(calls)
        except NoScriptError:
            # A restarted or flushed server. Chunks that another process's load let
            # through meanwhile are judged again: their permits are theirs already.
            await self._redis.script_load(_SCRIPT)
            await self._redis.script_load(counters_script.SCRIPT)
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
                    for scope in permit.scopes:
                        key = f"{prefix}{scope}/{permit.user_id}"
                        pipeline.zrange(key, 0, -1, withscores=True)
                found = iter(await pipeline.execute())
        return [
            judged(permit, {scope: _taken(next(found)) for scope in permit.scopes}, now)
            for permit in permits
        ]

    async def release(self, tenant: str, permits: Sequence[Permit]) -> int:
        prefix = permits_prefix(tenant)
        released = 0
        with valkey_errors():
            for start in range(0, len(permits), self._chunk):
                run = permits[start : start + self._chunk]
                async with self._redis.pipeline(transaction=False) as pipeline:
                    for permit in run:
                        for scope in permit.scopes:
                            key = f"{prefix}{scope}/{permit.user_id}"
                            pipeline.zrem(key, permit.request_id)
                    removed = iter(await pipeline.execute())
                for permit in run:
                    released += any([next(removed) for _ in permit.scopes])
        return released

    async def usage(
        self, tenant: str, user_id: str, categories: Iterable[str], now: int
    ) -> dict[str, Usage]:
        asked = set(categories)
        with valkey_errors():
            seen = await self._redis.zrange(categories_key(tenant), 0, -1)
            names = sorted(asked | {text(category) for category in seen})
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

    async def count(
        self, tenant: str, user_id: str, counters: Sequence[Counter], now: int
    ) -> list[list[int]]:
        if not counters:
            return []
        with valkey_errors():
            async with self._redis.pipeline(transaction=False) as pipeline:
                for scope, _, windows in counters:
                    key = f"{permits_prefix(tenant)}{scope}/{user_id}"
                    for window in windows:
                        pipeline.zcount(key, f"({now - window.span}", "+inf")
                counts = iter(await pipeline.execute())
        return [[next(counts) for _ in counter.windows] for counter in counters]


def _script_call(tenant: str, permits: Sequence[Permit], now: int) -> list[Any]:
    prefix = permits_prefix(tenant)
    call: list[Any] = ["EVALSHA", _SHA, len(permits)]
    call += [f"{prefix}{permit.category}/{permit.user_id}" for permit in permits]
    call += (now, now - DAY, now - WEEK, _TTL // timedelta(milliseconds=1))
    for permit in permits:
        call += (permit[0], *permit[3])
    return call


def _verdicts(reply: list[int]) -> Iterable[Verdict]:
    known = _Verdicts()
    # Verdicts are flat in the reply: four numbers each.
    parts = (reply[part::4] for part in range(4))
    return [known[numbers] for numbers in zip(*parts, strict=True)]


class _Verdicts(dict[tuple[int, ...], Verdict]):
    """Verdicts by their numbers; most of a batch fare alike."""

    def __missing__(self, numbers: tuple[int, ...]) -> Verdict:
        state, daily, weekly, available = numbers
        verdict = Verdict(not state, daily, weekly, _EXCEEDED[state], available)
        self[numbers] = verdict
        return verdict


def _taken(found: Iterable[tuple[bytes | str, float]]) -> dict[str, int]:
    return {text(id): int(time) for id, time in found}
