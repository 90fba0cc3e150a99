"""Measures the Twilio adapter, and twilio's own client, against a sandbox.

    python services/sms/benchmarks/rates.py [messages]

The sandbox is a process of its own with its receipts off. CPU is this process's.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.runtime.clock import SystemClock
from clarion.runtime.config import Secret
from clarion.runtime.delivery import Outcome, OutcomeKind
from clarion.runtime.delivery.in_memory import make_job
from clarion.sms.callback_url import callback_url
from clarion.sms.providers.twilio import TwilioProvider
from clarion.sms.settings import Settings

CONNECTIONS = 32
CHUNK = 256


def settings_for(places: dict[str, str]) -> Settings:
    token = Path(places["twilio_auth_token_file"]).read_text().strip()
    return Settings(
        twilio_account_sid=places["twilio_account_sid"],
        twilio_auth_token=Secret(token),
        twilio_from="+15005550006",
        public_url="https://mesh.example.com",
        twilio_url=places["twilio_url"],
        twilio_connections=CONNECTIONS,
    )


def jobs(count: int) -> list[DeliveryJob]:
    return [
        make_job(f"+1555{number:07d}", channel="sms", priority="high")
        for number in range(count)
    ]


async def by_adapter(settings: Settings, work: list[DeliveryJob]) -> int:
    provider = TwilioProvider(settings, SystemClock())
    sent = 0

    def settle(job: DeliveryJob, outcome: Outcome) -> None:
        nonlocal sent
        sent += outcome.kind is OutcomeKind.SENT

    chunks = [work[at : at + CHUNK] for at in range(0, len(work), CHUNK)]
    await asyncio.gather(*(provider.send(chunk, settle) for chunk in chunks))
    await provider.close()
    return sent


async def by_library(settings: Settings, work: list[DeliveryJob]) -> int:
    from twilio.http.async_http_client import AsyncTwilioHttpClient
    from twilio.rest import Client

    http = AsyncTwilioHttpClient(timeout=15)
    client = Client(
        settings.twilio_account_sid,
        settings.twilio_auth_token.reveal(),
        http_client=http,
    )
    client.api.base_url = settings.twilio_url
    waiting = iter(work)
    sent = 0

    async def worker() -> None:
        nonlocal sent
        for job in waiting:
            message = await client.messages.create_async(
                to=job.target.address,
                from_=settings.twilio_from,
                body=job.content.body,
                status_callback=callback_url(settings.public_url, job),
            )
            sent += bool(message.sid)

    await asyncio.gather(*(worker() for _ in range(CONNECTIONS)))
    await http.close()
    return sent


async def measure(
    name: str,
    run: Callable[[Settings, list[DeliveryJob]], Awaitable[int]],
    settings: Settings,
    count: int,
) -> None:
    await run(settings, jobs(200))
    work = jobs(count)
    started, cpu = time.perf_counter(), time.process_time()
    sent = await run(settings, work)
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    each = cpu / sent * 1e6
    sys.stdout.write(f"{name:10} {sent / wall:8.0f} msg/s {each:8.0f} us CPU each\n")
    assert sent == count


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            "CLARION_SANDBOX_DATA": folder,
            "CLARION_SANDBOX_RECEIPTS": "off",
            "CLARION_LOG_LEVEL": "ERROR",
        }
        sandbox = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("clarion-sandbox")), env=environment
        )
        try:
            file = Path(folder) / "sandbox.json"
            async with asyncio.timeout(20):
                while not file.exists():  # noqa: ASYNC110 - another process's file
                    await asyncio.sleep(0.05)
            places: dict[str, Any] = json.loads(file.read_text())
            settings = settings_for(places)
            for _ in range(2):
                await measure("adapter", by_adapter, settings, count)
                await measure("library", by_library, settings, count)
        finally:
            sandbox.terminate()
            await sandbox.wait()


if __name__ == "__main__":
    warnings.simplefilter("once")
    uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000))
