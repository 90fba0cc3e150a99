"""CPU for one delivery: this process and Valkey; no provider, events go nowhere.

Usage: python packages/runtime/benchmarks/delivery.py [chunks] [--profile]
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import click
import psutil
import uvloop

from clarion.api.event.v1.work_pb2 import DeliveryChunk, DeliveryJob
from clarion.client.embedded.servers import ValkeyServer
from clarion.runtime.clock import SystemClock
from clarion.runtime.delivery.attempts import RetryPolicy
from clarion.runtime.delivery.claims import Claims
from clarion.runtime.delivery.outcome import Outcome
from clarion.runtime.delivery.provider import Settle
from clarion.runtime.delivery.recorder import Recorder
from clarion.runtime.delivery.worker import DeliveryWorker
from clarion.runtime.jetstream import Inbound
from clarion.runtime.jetstream.in_memory import InMemoryScheduler
from clarion.runtime.valkey import open_client

JOBS = 256


class Nothing:
    """A provider, an event sink and a letter box that take everything."""

    name = "nothing"
    bytes = 0

    async def send(self, jobs: Sequence[DeliveryJob], settle: Settle) -> None:
        outcome = Outcome.sent("m-1")
        for job in jobs:
            settle(job, outcome)

    async def check(self) -> None: ...

    async def close(self) -> None: ...

    async def submit(self, item: bytes, size: int) -> None:
        self.bytes += size

    async def put(self, letter: object) -> None: ...


def chunk(clock: SystemClock) -> bytes:
    jobs = DeliveryChunk()
    for n in range(JOBS):
        job = jobs.jobs.add(
            delivery_id=str(uuid.uuid4()),
            notification_id=str(uuid.uuid4()),
            tenant_id="demo",
            user_id=f"user-{n}",
            channel="push",
            priority="medium",
            attempt=1,
            type="order_confirmation",
            category="order_updates",
        )
        job.target.address = f"token-{n}" * 20
        job.target.platform = "android"
        job.content.title = "Your order A-1000"
        job.content.body = "Hello, we have your order of 2 x Lamp, 1 x Desk."
        job.content.data.update(
            {"order_id": "A-1", "total": 99.95, "items": [{"n": 1}]}
        )
        job.accepted_time.FromDatetime(clock.now())
    return jobs.SerializeToString()


async def measure(count: int) -> None:
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as folder:
        async with ValkeyServer(Path(folder)) as server:
            valkey = open_client(server.url)
            claims = Claims(valkey)
            nothing = Nothing()
            recorder = Recorder(
                "push",
                marks=claims,
                event_sink=nothing,
                scheduler=InMemoryScheduler(),
                letters=nothing,
                policy=RetryPolicy(),
                clock=clock,
            )
            worker = DeliveryWorker(
                "push", [nothing], claims=claims, recorder=recorder, clock=clock
            )
            now = clock.now()
            messages = [
                Inbound("work.push.medium", chunk(clock), {}, "WORK", n, 1, now)
                for n in range(count)
            ]
            (process,) = (
                p for p in psutil.Process().children(True) if "valkey" in p.name()
            )
            before = sum(process.cpu_times()[:2])
            began = time.process_time()
            for start in range(0, count, 4):
                await asyncio.gather(
                    *(
                        worker.handle("medium", [message])
                        for message in messages[start : start + 4]
                    )
                )
            own = time.process_time() - began
            its = sum(process.cpu_times()[:2]) - before
            await valkey.aclose()
    jobs = count * JOBS
    click.echo(f"worker {own * 1e6 / jobs:6.2f} us a delivery")
    click.echo(f"valkey {its * 1e6 / jobs:6.2f} us a delivery")
    click.echo(f"events {nothing.bytes / jobs:6.0f} bytes a delivery")


def main() -> None:
    count = next((int(a) for a in sys.argv[1:] if a.isdigit()), 80)
    if "--profile" not in sys.argv:
        uvloop.run(measure(count))
        return
    profile = cProfile.Profile()
    profile.enable()
    asyncio.run(measure(count))
    profile.disable()
    pstats.Stats(profile).sort_stats("tottime").print_stats(40)


if __name__ == "__main__":
    main()
