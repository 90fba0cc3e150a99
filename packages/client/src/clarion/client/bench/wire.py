"""``wire``: the mixed stream to the sandbox over the providers' real protocols."""

from __future__ import annotations

import secrets
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import aiohttp

from clarion.client.bench.processes import cpu_seconds, spent
from clarion.client.client import Client
from clarion.client.demo.arrivals import Arrivals
from clarion.client.demo.plan import DemoPlan, expected_arrivals
from clarion.client.demo.rest import Rest
from clarion.client.demo.result import compare, percentiles
from clarion.client.demo.run import Demonstration
from clarion.client.embedded import Stack
from clarion.client.embedded.collector import Collector


@dataclass(slots=True)
class WireResult:
    """What was measured."""

    notifications: int
    per_second: float
    accept_to_provider_ms: dict[str, float]
    cpu_us_per_notification: float
    by_process: dict[str, float] = field(default_factory=dict)
    """CPU microseconds a notification."""
    lost: int = 0
    duplicated: int = 0

    def as_json(self) -> dict[str, object]:
        """The result as JSON values."""
        return asdict(self)


async def wire(count: int) -> WireResult:
    """Sends ``count`` notifications through a stack of its own."""
    with tempfile.TemporaryDirectory() as folder:
        async with Stack(Path(folder) / "stack") as stack:
            return await _measure(stack, count)


async def _measure(stack: Stack, count: int) -> WireResult:
    urls, key = stack.urls, stack.demo_key
    async with Client(urls["grpc"], key) as client, aiohttp.ClientSession() as http:
        run = Demonstration(
            DemoPlan(f"bench-{secrets.token_hex(4)}", count),
            client,
            Rest(urls["rest"], key, http),
            Arrivals(urls["sandbox"], http),
            Collector(),
            lambda _: None,
        )
        await run.load()
        before = cpu_seconds(stack)
        await run.send_stream()
        expected = expected_arrivals(run.accepted)
        await run.until_arrived(expected, set())
        seconds = (
            max(run.arrivals.arrived_ms.values()) / 1000
            - min(run.sent_ms.values()) / 1000
        )
        used = spent(before, cpu_seconds(stack))
        at_providers = Counter({k: n for k, n in expected.items() if k[1] != "in_app"})
        lost, duplicated = compare(at_providers, run.arrivals.counts)
    return WireResult(
        notifications=count,
        per_second=round(count / seconds, 1),
        accept_to_provider_ms=percentiles(run.sent_ms, run.arrivals.arrived_ms),
        cpu_us_per_notification=round(sum(used.values()) * 1e6 / count, 1),
        by_process={n: round(s * 1e6 / count, 1) for n, s in used.items()},
        lost=lost,
        duplicated=duplicated,
    )
