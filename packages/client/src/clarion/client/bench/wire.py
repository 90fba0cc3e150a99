"""``wire``: the mixed stream to the sandbox over the providers' real protocols."""

from __future__ import annotations

import secrets
import tempfile
from collections import Counter
from pathlib import Path

import aiohttp
import click

from clarion.client.bench.processes import cpu_seconds, spent
from clarion.client.bench.report import Report, table
from clarion.client.client import Client
from clarion.client.demo.arrivals import Arrivals
from clarion.client.demo.plan import DemoPlan, expected_arrivals
from clarion.client.demo.rest import Rest
from clarion.client.demo.result import compare, percentiles
from clarion.client.demo.run import Demonstration
from clarion.client.embedded import Stack
from clarion.client.embedded.collector import Collector

OPTIONS = (
    click.Option(
        ["--count", "-n"],
        type=click.IntRange(min=10, max=1_000_000),
        default=5000,
        show_default=True,
        help="How many notifications to send.",
    ),
)


async def run(*, count: int) -> Report:
    """The providers' real protocols, spoken to the sandbox.

    70 % push, 20 % email, 10 % sms and in-app, at most 400 notifications under way;
    throughput, latency, and CPU a notification by process.
    """
    with tempfile.TemporaryDirectory() as folder:
        async with Stack(Path(folder) / "stack") as stack:
            return await _measure(stack, count)


async def _measure(stack: Stack, count: int) -> Report:
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
    latency = percentiles(run.sent_ms, run.arrivals.arrived_ms)
    by_process = {n: round(s * 1e6 / count, 1) for n, s in used.items()}
    values: dict[str, object] = {
        "notifications": count,
        "per_second": round(count / seconds, 1),
        "accept_to_provider_ms": latency,
        "cpu_us_per_notification": round(sum(used.values()) * 1e6 / count, 1),
        "by_process": by_process,
        "lost": lost,
        "duplicated": duplicated,
    }
    return Report(
        values,
        [
            f"{count / seconds:,.0f} notifications a second",
            f"accept to provider: p50 {latency['p50']} ms, p99 {latency['p99']} ms",
            f"lost {lost}, duplicated {duplicated}",
            f"CPU a notification: {values['cpu_us_per_notification']} us",
            *table("process", {"us": by_process}),
        ],
    )
