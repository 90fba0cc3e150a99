"""CPU time that BatchGetRecipients takes for one person: Python, Postgres, Valkey.

Everybody is asked for once (``cold``), as where recipients are spread over a million
users, and then the same few over and over (``warm``). Starts servers of its own.

Usage: python services/recipients/benchmarks/cost.py [people] [batch] [--profile]
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
from datetime import timedelta
from pathlib import Path

import click
import psutil

from clarion.client.bench.people import load_people, user_id
from clarion.client.embedded.servers import PostgresServer, ValkeyServer
from clarion.recipients.cache.live_defaults import LiveDefaults
from clarion.recipients.cache.profile_cache import ProfileCache
from clarion.recipients.profiles import Profiles
from clarion.runtime.migrations import migrate, migrations_of
from clarion.runtime.postgres import open_pool
from clarion.runtime.valkey import open_client

BATCH = 512
STRIDE = 7919
"""A prime that spreads those of a batch over all people."""
ROUNDS = 5
WARM_UP = 8
"""Batches that are not measured."""
TENANT = "demo"
TTL = timedelta(minutes=5)


def main() -> None:
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    count = int(words[0]) if words else 60_000
    size = int(words[1]) if len(words) > 1 else BATCH
    if count <= WARM_UP * size:
        sys.exit(f"give more than {WARM_UP * size} people: so many warm up")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        asyncio.run(measure(Path(folder), count, size, "--profile" in sys.argv))


async def measure(folder: Path, count: int, size: int, is_profiled: bool) -> None:
    async with (
        PostgresServer(folder / "postgres") as postgres,
        ValkeyServer(folder / "valkey") as valkey,
    ):
        migrate(postgres.url, "recipients", migrations_of("recipients"))
        load_people(postgres.url, count)
        pool = await open_pool(postgres.url, "recipients", is_parallel=False)
        redis = open_client(valkey.url)
        defaults = LiveDefaults(pool)
        await defaults.look()
        profiles = Profiles(pool, ProfileCache(redis, TTL), defaults)
        ids = [user_id(number * STRIDE % count) for number in range(count)]
        batches = [ids[at : at + size] for at in range(0, count, size)]
        await asked(profiles, batches[:WARM_UP])
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)  # as in a service
        servers = {"postgres_us": postgres.pid, "valkey_us": valkey.pid}
        profile = cProfile.Profile()
        if is_profiled:
            profile.enable()
        rest = batches[WARM_UP:]
        part = (len(rest) + ROUNDS - 1) // ROUNDS
        cold = [
            await cost(profiles, rest[at : at + part], servers)
            for at in range(0, len(rest), part)
        ]
        few = rest[:WARM_UP] * 3
        await asked(profiles, few)
        warm = [await cost(profiles, few, servers) for _ in range(ROUNDS)]
        profile.disable()
        if is_profiled:
            stats = pstats.Stats(profile, stream=sys.stderr)
            stats.sort_stats("tottime").print_stats(25)
        click.echo(json.dumps({"cold": least(cold), "warm": least(warm)}))
        await redis.aclose()
        await pool.close()


async def asked(profiles: Profiles, batches: list[list[str]]) -> None:
    for batch in batches:
        await profiles.get(TENANT, batch)


async def cost(
    profiles: Profiles, batches: list[list[str]], servers: dict[str, int]
) -> dict[str, float]:
    """CPU microseconds a person."""
    before = {name: seconds(pid) for name, pid in servers.items()}
    began = time.process_time()
    await asked(profiles, batches)
    spent = {"python_us": time.process_time() - began}
    for name, pid in servers.items():
        spent[name] = seconds(pid) - before[name]
    people = sum(map(len, batches))
    return {name: round(took / people * 1e6, 1) for name, took in spent.items()}


def least(runs: list[dict[str, float]]) -> dict[str, float]:
    """Of several runs the least of each: what other processes add is left out."""
    return {name: min(run[name] for run in runs) for name in runs[0]}


def seconds(pid: int) -> float:
    """A server with its processes; those that have ended are in its account."""
    first = psutil.Process(pid)
    times = [process.cpu_times() for process in (first, *first.children())]
    ended = times[0].children_user + times[0].children_system
    return ended + sum(time.user + time.system for time in times)


if __name__ == "__main__":
    main()
