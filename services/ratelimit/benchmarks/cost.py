"""CPU time that BatchAcquire takes for one permit: Python and Valkey apart.

``new``: the first permit of a person and category, as where recipients are spread over
a million users; ``few``: people who have some already. Starts a Valkey of its own.

Usage: python services/ratelimit/benchmarks/cost.py [permits] [--profile]
"""

from __future__ import annotations

import asyncio
import cProfile
import gc
import json
import pstats
import sys
import tempfile
import time
from pathlib import Path

import click
import psutil

from clarion.api.ratelimit.v1 import rate_limit_service_pb2 as pb
from clarion.client.embedded.servers import ValkeyServer
from clarion.ratelimit.limiting import RateLimiter
from clarion.ratelimit.servicer import RateLimitServicer
from clarion.ratelimit.valkey.permit_store import ValkeyPermitStore
from clarion.ratelimit.valkey.policy_store import ValkeyPolicyStore
from clarion.runtime.caller import Caller, as_caller
from clarion.runtime.clock import SystemClock
from clarion.runtime.valkey import open_client

BATCH = 512
ROUNDS = 5
CATEGORIES = ("order_updates", "social", "rides")
HAVE = 3
"""Permits that ``few`` have before."""


def main() -> None:
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    count = int(words[0]) if words else 16_384
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        asyncio.run(measure(Path(folder), count, "--profile" in sys.argv))


async def measure(folder: Path, count: int, is_profiled: bool) -> None:
    async with ValkeyServer(folder / "valkey") as valkey:
        redis = open_client(valkey.url)
        servicer = RateLimitServicer(
            RateLimiter(
                ValkeyPermitStore(redis), ValkeyPolicyStore(redis), SystemClock()
            )
        )
        profile = cProfile.Profile()
        with as_caller(Caller("demo", "key", frozenset())):
            await served(servicer, encoded(BATCH, 0, "warm"))
            gc.freeze()
            gc.set_threshold(50_000, 20, 50)  # as in a service
            if is_profiled:
                profile.enable()
            new = [
                await cost(servicer, encoded(count, round * count, "new"), valkey.pid)
                for round in range(ROUNDS)
            ]
            for time_before in range(1, HAVE):
                await served(servicer, encoded(count, 0, f"before-{time_before}"))
            few = [
                await cost(servicer, encoded(count, 0, f"few-{round}"), valkey.pid)
                for round in range(ROUNDS)
            ]
            profile.disable()
        if is_profiled:
            stats = pstats.Stats(profile, stream=sys.stderr)
            stats.sort_stats("tottime").print_stats(20)
        click.echo(json.dumps({"new": least(new), "few": least(few)}))
        await redis.aclose()


async def served(servicer: RateLimitServicer, calls: list[bytes]) -> None:
    for call in calls:
        request = pb.BatchAcquireRequest.FromString(call)
        answer = await servicer.BatchAcquire(request, None)  # type: ignore[arg-type]
        if not isinstance(answer, bytes):
            answer.SerializeToString()


async def cost(
    servicer: RateLimitServicer, calls: list[bytes], pid: int
) -> dict[str, float]:
    """CPU microseconds a permit."""
    before, began = seconds(pid), time.process_time()
    await served(servicer, calls)
    python = time.process_time() - began
    count = len(calls) * BATCH
    return {
        "python_us": round(python / count * 1e6, 2),
        "valkey_us": round((seconds(pid) - before) / count * 1e6, 2),
    }


def least(runs: list[dict[str, float]]) -> dict[str, float]:
    """Of several runs the least of each: what other processes add is left out."""
    return {name: min(run[name] for run in runs) for name in runs[0]}


def seconds(pid: int) -> float:
    """The CPU time of a process."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def encoded(count: int, first: int, name: str) -> list[bytes]:
    """Calls as the router makes them."""
    calls = []
    for start in range(first, first + count, BATCH):
        request = pb.BatchAcquireRequest()
        for number in range(start, start + BATCH):
            request.items.add(
                request_id=f"01930000-0000-7000-8000-{name}-{number:010d}",
                user_id=f"user-{number:08d}",
                category=CATEGORIES[number % len(CATEGORIES)],
                type="order_confirmation",
                channels=("push", "in_app"),
            )
        calls.append(request.SerializeToString())
    return calls


if __name__ == "__main__":
    main()
