"""``memory``: what each process holds, idle and after load."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from clarion.client.bench.mesh import Mesh, watched
from clarion.client.bench.processes import resident_mib
from clarion.client.bench.report import Report, table
from clarion.client.bench.traffic import Traffic

_GOAL_MIB = 1024
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
        ["--rest"],
        type=click.FloatRange(min=0),
        default=5.0,
        show_default=True,
        help="Seconds of quiet after the start and at the end.",
    ),
)


async def run(*, seconds: float, users: int, rest: float) -> Report:
    """Resident memory of every process: idle, at the end of a load, and after it.

    Pages that processes of one server share count once (PostgreSQL).
    """
    async with Mesh(users, rest=rest) as mesh:
        return await measure(mesh, seconds=seconds, rest=rest)


async def measure(
    mesh: Mesh, *, seconds: float, rest: float, batch: int = 1000
) -> Report:
    """Of a mesh that runs."""
    gate = mesh.gate(30_000)
    offering = mesh.offering(gate, Traffic(mesh.users), 4, batch=batch)
    await watched(gate, offering, seconds)
    loaded = resident_mib(mesh.stack)
    await mesh.drained()
    await asyncio.sleep(rest)
    after = resident_mib(mesh.stack)
    totals = {
        name: round(sum(found.values()), 1)
        for name, found in (
            ("idle", mesh.idle_mib),
            ("loaded", loaded),
            ("after", after),
        )
    }
    values: dict[str, Any] = {
        "idle_mib": totals["idle"],
        "loaded_mib": totals["loaded"],
        "after_mib": totals["after"],
        "is_under_1_gib": totals["idle"] < _GOAL_MIB,
        "by_process": {
            name: {"idle": idle, "loaded": loaded.get(name), "after": after.get(name)}
            for name, idle in mesh.idle_mib.items()
        },
        "notifications": offering.accepted,
    }
    columns = {"loaded MiB": loaded, "idle MiB": mesh.idle_mib, "after MiB": after}
    return Report(
        values,
        [
            f"idle {totals['idle']:,.0f} MiB, loaded {totals['loaded']:,.0f} MiB, "
            f"after {totals['after']:,.0f} MiB ({offering.accepted:,} notifications)",
            *table("process", columns),
        ],
    )
