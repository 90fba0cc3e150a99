"""Measures the SMTP adapter against a sandbox.

    python services/email/benchmarks/rates.py [mails]

The sandbox is a process of its own. CPU is this process's, and the sandbox's beside it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.email.mailbox import Mailbox
from clarion.email.providers.smtp import SmtpProvider
from clarion.email.smtp_url import SmtpUrl
from clarion.runtime.clock import SystemClock
from clarion.runtime.delivery import Outcome, OutcomeKind
from clarion.runtime.delivery.in_memory import make_job

SENDER = Mailbox("The Shop", "shop@example.com")
CHUNK = 256
PACE = 230, 0.02
"""Mails a second, seconds between chunks: what `clarion bench wire` asks for."""


def jobs(count: int) -> list[DeliveryJob]:
    made = [make_job(f"ada{number}@example.org") for number in range(count)]
    for job in made:
        job.content.title = "Your order is on its way"
        job.content.body = "It arrives tomorrow, says the carrier.\n" * 10
        job.content.html = "<p>It arrives tomorrow, says the carrier.</p>\n" * 10
    return made


async def flood(provider: SmtpProvider, work: list[DeliveryJob]) -> int:
    """As fast as it goes."""
    sent = _Sent()
    chunks = [work[at : at + CHUNK] for at in range(0, len(work), CHUNK)]
    await asyncio.gather(*(provider.send(chunk, sent.settle) for chunk in chunks))
    return sent.count


async def paced(provider: SmtpProvider, work: list[DeliveryJob]) -> int:
    """A few every 20 ms."""
    rate, pause = PACE
    sent, calls, size = _Sent(), [], round(rate * pause)
    for at in range(0, len(work), size):
        sending = provider.send(work[at : at + size], sent.settle)
        calls.append(asyncio.create_task(sending))
        await asyncio.sleep(pause)
    await asyncio.gather(*calls)
    return sent.count


class _Sent:
    def __init__(self) -> None:
        self.count = 0

    def settle(self, job: DeliveryJob, outcome: Outcome) -> None:
        self.count += outcome.kind is OutcomeKind.SENT


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            "CLARION_SANDBOX_DATA": folder,
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
            url = SmtpUrl.parse(json.loads(file.read_text())["smtp_url"])
            provider = SmtpProvider(url, SENDER, SystemClock())
            await flood(provider, jobs(200))
            for name, run, number in (
                ("flood", flood, count),
                ("paced", paced, count // 4),
            ):
                work = jobs(number)
                beside, cpu = cpu_of(sandbox.pid), time.process_time()
                started = time.perf_counter()
                assert await run(provider, work) == number
                wall = time.perf_counter() - started
                own = (time.process_time() - cpu) / number * 1e6
                other = (cpu_of(sandbox.pid) - beside) / number * 1e6
                sys.stdout.write(
                    f"{name:6} {number / wall:8.0f} mails/s {own:6.0f} us CPU each, "
                    f"the sandbox {other:6.0f} us\n"
                )
            await provider.close()
        finally:
            sandbox.terminate()
            await sandbox.wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000))
