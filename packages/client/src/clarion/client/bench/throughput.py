"""``throughput``: every step of the mesh under load, with sinks as the providers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from clarion.client.bench.mesh import Mesh, Spent, Stopwatch, watched
from clarion.client.bench.offering import Gate, Offering
from clarion.client.bench.processes import resident_mib
from clarion.client.bench.profiling import Profile, record
from clarion.client.bench.report import Report, plot, table
from clarion.client.bench.tally import Tally
from clarion.client.bench.traffic import Traffic

OPTIONS = (
    click.Option(
        ["--seconds"],
        type=click.FloatRange(min=0.5),
        default=60.0,
        show_default=True,
        help="How long to send.",
    ),
    click.Option(
        ["--users"],
        type=click.IntRange(min=1),
        default=1_000_000,
        show_default=True,
        help="How many recipients there are.",
    ),
    click.Option(
        ["--window"],
        type=click.IntRange(min=1000),
        default=30_000,
        show_default=True,
        help="Sending waits while about so many notifications are in the queues.",
    ),
    click.Option(
        ["--calls"],
        type=click.IntRange(min=1),
        default=4,
        show_default=True,
        help="Calls of 1,000 notifications under way at once.",
    ),
    click.Option(
        ["--profile", "profiled"],
        multiple=True,
        metavar="PROCESS",
        help="Profile it with py-spy meanwhile (router, tracking, ...); repeatable.",
    ),
    click.Option(
        ["--profile-dir"],
        type=click.Path(file_okay=False, path_type=Path),
        default=Path(".clarion/profile"),
        show_default=True,
        help="Where the folded stacks go.",
    ),
    click.Option(
        ["--profile-native"], is_flag=True, help="Profile compiled code as well."
    ),
)


async def run(
    *,
    seconds: float,
    users: int,
    window: int,
    calls: int,
    profiled: tuple[str, ...] = (),
    profile_dir: Path = Path(".clarion/profile"),
    profile_native: bool = False,
) -> Report:
    """All steps but the providers: accepted, decided, rendered, delivered, tracked.

    70 % push, 20 % email, 10 % sms and in-app to a million people, by the batch API
    through the edge, as fast as the queues stay bounded; all CPU is counted.
    """
    # A full machine has both of its cores at work only where no process needs one.
    async with Mesh(users, apart=True) as mesh:
        gate = mesh.gate(window)
        offering = mesh.offering(gate, Traffic(users), calls)
        kept = await mesh.stored()
        watch = Stopwatch(mesh.stack)
        async with asyncio.TaskGroup() as group:
            group.create_task(watched(gate, offering, seconds))
            profiling = group.create_task(
                _profile(mesh, profiled, seconds, profile_dir, profile_native)
            )
        await mesh.drained()
        spent = watch.stop(offering.accepted, offering.deliveries)
        left = (await mesh.stored()).per_notification(kept, spent.accepted)
        loaded = resident_mib(mesh.stack)
        tally = await mesh.settle(offering.deliveries)
        start = watch.started
        latency = await mesh.tracked.latency_ms(start + seconds / 5, start + seconds)
        taken = sum((await mesh.stop()).values())
    values = {
        "per_second": spent.per_second,
        "cpu_us_per_notification": spent.cpu_us(),
        "by_process": spent.by_process(),
        "lost": max(offering.deliveries - tally.ended, 0),
        "duplicated": max(taken - tally.sent, 0),
        "notifications": spent.accepted,
        "deliveries": tally.sent,
        "statuses": tally.statuses,
        "unconfirmed": max(tally.notifications - spent.accepted, 0),
        "refused": dict(offering.refused),
        "seconds": round(spent.seconds, 1),
        "cores_used": round(sum(spent.cpu.values()) / spent.seconds, 2),
        "accept_to_sink_ms": latency,
        "queue_depth": _depths(gate),
        "stored_bytes_per_notification": left,
        "users": users,
        "rss_mib": {"idle": mesh.idle_mib, "loaded": loaded},
    }
    return Report(
        values, _text(values, spent, gate, offering, tally, profiling.result())
    )


async def _profile(
    mesh: Mesh, names: tuple[str, ...], seconds: float, folder: Path, native: bool
) -> list[Profile]:
    if not names:
        return []
    await asyncio.sleep(seconds / 5)
    return await record(mesh.stack, names, seconds * 3 / 5, folder, native=native)


def _depths(gate: Gate) -> dict[str, list[int]]:
    """Twenty readings over the time of sending."""
    step = max(1, len(gate.samples) // 20)
    chosen = gate.samples[::step]
    return {
        "work_bytes": [depth.work_bytes for depth in chosen],
        "event_bytes": [round(depth.event_bytes) for depth in chosen],
    }


def _text(
    values: dict[str, object],
    spent: Spent,
    gate: Gate,
    offering: Offering,
    tally: Tally,
    profiles: list[Profile],
) -> list[str]:
    calls = sorted(offering.call_ms) or [0.0]
    latency = values["accept_to_sink_ms"]
    assert isinstance(latency, dict)
    lines = [
        f"{spent.per_second:,.0f} notifications a second, "
        f"{tally.sent / spent.seconds:,.0f} deliveries, for {spent.seconds:.1f} s",
        f"lost {values['lost']}, duplicated {values['duplicated']}",
        f"accept to sink: p50 {latency['p50']} ms, p99 {latency['p99']} ms; "
        f"a call of 1,000: median {calls[len(calls) // 2]:.0f} ms",
        f"stored bytes a notification: {values['stored_bytes_per_notification']}",
        f"CPU {spent.cpu_us():,.0f} us a notification, "
        f"{values['cores_used']} cores busy",
        *table("process", {"us": spent.by_process()}),
        plot("work queue kB", [depth.work_bytes / 1000 for depth in gate.samples]),
        plot("events kB", [depth.event_bytes / 1000 for depth in gate.samples]),
    ]
    for profile in profiles:
        lines += ["", *profile.lines()]
    return lines
