"""Messages a second that the adapters send, and their CPU time for one.

Starts a sandbox of its own. Usage: python services/push/benchmarks/rates.py [messages]
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import click
import uvloop

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.push.accounts import Accounts
from clarion.push.settings import Settings
from clarion.runtime.clock import SystemClock
from clarion.runtime.config import Secret
from clarion.runtime.delivery import Outcome, OutcomeKind, Provider

CHUNK = 256
CHUNKS_AT_ONCE = 4


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        environ = dict(os.environ, CLARION_SANDBOX_DATA=folder)
        command = [sys.executable, "-m", "clarion.sandbox"]
        process = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
        try:
            ready = Path(folder) / "sandbox.json"
            while not ready.exists():
                time.sleep(0.01)
            uvloop.run(measure(json.loads(ready.read_text()), count))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)


async def measure(places: dict[str, str], count: int) -> None:
    for url in ("push_tls_url", "fcm_url"):
        settings = Settings(
            fcm_url=places[url],
            fcm_credentials=secret(places["fcm_credentials_file"]),
            apns_url=places["push_tls_url"],
            apns_key=secret(places["apns_key_file"]),
            apns_key_id=places["apns_key_id"],
            apns_team_id=places["apns_team_id"],
            apns_topic="com.example.clarion",
            push_ca_file=Path(places["ca_file"]),
        )
        accounts = Accounts(settings, SystemClock())
        if url == "push_tls_url":
            await report("fcm, HTTP/2", accounts.fcm, count)
            assert accounts.apns is not None
            await report("apns, HTTP/2", accounts.apns, count)
        else:
            await report("fcm, HTTP/1.1", accounts.fcm, count)
        await accounts.close()


def secret(path: str) -> Secret:
    return Secret(Path(path).read_text())


async def report(name: str, provider: Provider, count: int) -> None:
    await send(provider, 50)
    jobs = make_jobs(count)
    cpu, start = cpu_seconds(), time.perf_counter()
    await send_jobs(provider, jobs)
    took, used = time.perf_counter() - start, cpu_seconds() - cpu
    click.echo(
        f"{name:14} {count / took:7.0f} a second, "
        f"{used / count * 1e6:5.0f} us of CPU for each"
    )


async def send(provider: Provider, count: int) -> None:
    await send_jobs(provider, make_jobs(count))


def make_jobs(count: int) -> list[DeliveryJob]:
    jobs = []
    for number in range(count):
        job = DeliveryJob(
            delivery_id=str(uuid.uuid4()),
            notification_id=str(uuid.uuid4()),
            priority="medium",
            category="order_updates",
        )
        job.target.address = f"{number % 1000:064x}"
        job.target.platform = "android"
        job.content.title = "Your order has left"
        job.content.body = "It arrives tomorrow between 9 and 11."
        job.content.data.update({"order_id": "A-1001", "items": 20, "total": 99.99})
        jobs.append(job)
    return jobs


async def send_jobs(provider: Provider, jobs: list[DeliveryJob]) -> None:
    def settle(job: DeliveryJob, outcome: Outcome) -> None:
        assert outcome.kind is OutcomeKind.SENT, outcome

    chunks = iter([jobs[at : at + CHUNK] for at in range(0, len(jobs), CHUNK)])

    async def work() -> None:
        for chunk in chunks:
            await provider.send(chunk, settle)

    await asyncio.gather(*(work() for _ in range(CHUNKS_AT_ONCE)))


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
