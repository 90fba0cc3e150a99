"""``floor``: the unavoidable work of ``throughput``, done in a straight line."""

from __future__ import annotations

from typing import Any

import click

from clarion.client.bench.mesh import Mesh, Stopwatch
from clarion.client.bench.report import Report, table
from clarion.client.bench.traffic import Traffic

_SERVERS = ("load", "nats", "valkey", "postgres")
OPTIONS = (
    click.Option(
        ["--seconds"],
        type=click.FloatRange(min=0.5),
        default=20.0,
        show_default=True,
        help="How long to send to the mesh.",
    ),
    click.Option(
        ["--count", "-n"],
        type=click.IntRange(min=100),
        default=100_000,
        show_default=True,
        help="Notifications of the straight line.",
    ),
    click.Option(
        ["--users"],
        type=click.IntRange(min=1),
        default=100_000,
        show_default=True,
        help="How many recipients there are.",
    ),
    click.Option(
        ["--chunk"],
        type=click.IntRange(1, 1000),
        default=500,
        show_default=True,
        help="Notifications in one message of the straight line.",
    ),
)


async def run(*, seconds: float, count: int, users: int, chunk: int) -> Report:
    """The mesh against a straight line through the same servers, in CPU.

    The straight line is one process that decodes, stores a chunk in JetStream, looks
    profiles up in memory, asks Valkey once for limits and once for claims a chunk,
    renders, stores the jobs in JetStream and copies the events into PostgreSQL.
    """
    # A full machine has both of its cores at work only where no process needs one.
    async with Mesh(users, apart=True) as mesh:
        return await measure(mesh, seconds=seconds, count=count, chunk=chunk)


async def measure(
    mesh: Mesh, *, seconds: float, count: int, chunk: int, batch: int = 1000
) -> Report:
    """Both, one after the other, on a mesh that runs."""
    from clarion.client.bench.straight_line import StraightLine

    gate = mesh.gate(30_000)
    offering = mesh.offering(gate, Traffic(mesh.users), 4, batch=batch)
    whole = await mesh.work_off(gate, offering, seconds)
    async with StraightLine(mesh.stack.urls, mesh.users) as line:
        traffic = Traffic(mesh.users)
        watch = Stopwatch(mesh.stack)
        made = 0
        for _ in range(max(1, count // chunk)):
            made += await line.deliver(traffic.batch(chunk)[0])
        straight = watch.stop(max(1, count // chunk) * chunk, made)
    # The mesh idles meanwhile; what it does then is not part of the straight line.
    floor = {name: us for name, us in straight.by_process().items() if name in _SERVERS}
    floor_us = round(sum(floor.values()), 1)
    values: dict[str, Any] = {
        "mesh_over_floor": round(whole.cpu_us() / max(floor_us, 0.1), 2),
        "mesh_us": whole.cpu_us(),
        "floor_us": floor_us,
        "mesh_by_process": whole.by_process(),
        "floor_by_process": floor,
        "mesh_per_second": whole.per_second,
        "floor_per_second": straight.per_second,
        "chunk": chunk,
        "deliveries_per_notification": round(made / max(straight.accepted, 1), 2),
    }
    columns = {"mesh": whole.by_process(), "floor": floor}
    return Report(
        values,
        [
            f"mesh {values['mesh_us']} us, floor {floor_us} us a notification (CPU): "
            f"{values['mesh_over_floor']} times the floor",
            *table("process", columns),
        ],
    )
