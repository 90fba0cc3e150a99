"""``backpressure``: three times as much as the mesh can take, and a small queue."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

import click

from clarion.client.bench.flood import Flood
from clarion.client.bench.mesh import Mesh, watched
from clarion.client.bench.processes import resident_mib
from clarion.client.bench.report import Report, plot
from clarion.client.bench.traffic import Traffic

OPTIONS = (
    click.Option(
        ["--seconds"],
        type=click.FloatRange(min=0.5),
        default=30.0,
        show_default=True,
        help="How long to send too much.",
    ),
    click.Option(
        ["--times"],
        type=click.FloatRange(min=1),
        default=3.0,
        show_default=True,
        help="How many times the capacity to offer.",
    ),
    click.Option(
        ["--queue-kib"],
        type=click.IntRange(min=64),
        default=1024,
        show_default=True,
        help="Room of the work queues, compressed (CLARION_WORK_MAX_BYTES).",
    ),
    click.Option(
        ["--users"],
        type=click.IntRange(min=1),
        default=100_000,
        show_default=True,
        help="How many recipients there are.",
    ),
)


async def run(*, seconds: float, times: float, queue_kib: int, users: int) -> Report:
    """What happens at three times the capacity, with small queues.

    The capacity is measured first (a closed loop). Then an open loop offers three
    times that: what cannot be stored must be answered with RESOURCE_EXHAUSTED and a
    wait; what was accepted must arrive, each once, after a bounded time, and memory
    must stay bounded.
    """
    settings = {"CLARION_WORK_MAX_BYTES": str(queue_kib * 1024)}
    async with Mesh(users, settings=settings, apart=True) as mesh:
        calm_gate = mesh.gate(5_000)
        calm = mesh.offering(calm_gate, Traffic(users), 4)
        started = time.monotonic()
        await watched(calm_gate, calm, max(seconds / 3, 0.5))
        await mesh.drained()
        capacity = calm.accepted / (time.monotonic() - started)
        before = resident_mib(mesh.stack)
        flood = Flood(mesh.stack.urls["grpc"], mesh.stack.demo_key, Traffic(users))
        gate = mesh.gate(1_000)
        watching = asyncio.create_task(gate.watch())
        began = time.time()
        try:
            await flood.offer(capacity * times, seconds)
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
        ended = time.time()
        during = resident_mib(mesh.stack)
        tally = await mesh.settle(calm.deliveries + flood.deliveries)
        latency = await mesh.tracked.latency_ms(began, ended)
        taken = sum((await mesh.stop()).values())
    values: dict[str, Any] = {
        "capacity_per_second": round(capacity, 1),
        "offered_per_second": round(flood.offered / seconds, 1),
        "accepted_per_second": round(flood.accepted / seconds, 1),
        "accepted": flood.accepted,
        "refused": flood.refused,
        "refused_with_wait": flood.with_wait,
        "other_failures": dict(flood.failures),
        "not_offered": flood.held_back,
        "accept_to_sink_ms": latency,
        "call_ms": flood.call_ms(),
        "rss_mib": {
            "before": round(sum(before.values()), 1),
            "during": round(sum(during.values()), 1),
            "by_process": {
                name: [found, during.get(name)] for name, found in before.items()
            },
        },
        "queue_kib": queue_kib,
        "most_queued_kib": round(
            max([depth.work_bytes for depth in gate.samples] or [0]) / 1024
        ),
        "lost": max(calm.deliveries + flood.deliveries - tally.ended, 0),
        "duplicated": max(taken - tally.sent, 0),
        "unconfirmed": max(tally.notifications - calm.accepted - flood.accepted, 0),
    }
    return Report(
        values,
        [
            f"capacity {capacity:,.0f}/s, "
            f"offered {values['offered_per_second']:,.0f}/s, "
            f"accepted {values['accepted_per_second']:,.0f}/s",
            f"refused {flood.refused:,} ({flood.with_wait:,} with a wait), "
            f"other failures {dict(flood.failures)}",
            f"accept to sink: p50 {latency['p50']} ms, p99 {latency['p99']} ms",
            f"memory {values['rss_mib']['before']:,.0f} -> "
            f"{values['rss_mib']['during']:,.0f} MiB, "
            f"queues at most {values['most_queued_kib']} of {queue_kib} KiB",
            f"lost {values['lost']}, duplicated {values['duplicated']}",
            plot("work queue kB", [depth.work_bytes / 1000 for depth in gate.samples]),
        ],
    )
