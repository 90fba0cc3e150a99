"""``growth``: whether a notification costs the same whatever there is of everything."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import click

from clarion.client.bench.mesh import Mesh, Stopwatch
from clarion.client.bench.offering import Offering
from clarion.client.bench.report import Report, table
from clarion.client.bench.tenants import PEOPLE_OF_A_TENANT
from clarion.client.bench.traffic import Traffic

_FEW = 1000
_CALLS = 4
OPTIONS = (
    click.Option(
        ["--most"],
        type=click.IntRange(min=100),
        default=1_000_000,
        show_default=True,
        help="The deepest queue; also a tenth and a hundredth of it.",
    ),
    click.Option(
        ["--count", "-n"],
        type=click.IntRange(min=100),
        default=50_000,
        show_default=True,
        help="Notifications of each run with other recipients and tenants.",
    ),
    click.Option(
        ["--users"],
        type=click.IntRange(min=1),
        default=1_000_000,
        show_default=True,
        help="How many recipients there are.",
    ),
    click.Option(
        ["--tenants"],
        type=click.IntRange(min=2, max=5000),
        default=1000,
        show_default=True,
        help="How many tenants there are.",
    ),
)


async def run(*, most: int, count: int, users: int, tenants: int) -> Report:
    """CPU a notification at growing queues, recipients and tenants, with the ratios.

    The routers' consumers are paused until all notifications are accepted, then the
    queue is worked off; what accepting and working off cost together is compared.
    """
    async with Mesh(users, tenants=tenants) as mesh:
        return await measure(mesh, most=most, count=count)


async def measure(mesh: Mesh, *, most: int, count: int) -> Report:
    """The three comparisons on a mesh with many tenants."""
    runs = _Runs(mesh)
    few = min(_FEW, mesh.users)
    # The first one finds everything cold: caches, connections, tables.
    await runs.queued(max(count // 5, 100), mesh.users)
    queued = {
        f"{depth}": await runs.queued(depth, mesh.users)
        for depth in sorted({max(most // 100, 1), max(most // 10, 1), most})
    }
    recipients = {
        f"{number}": await runs.flowing(count, number)
        for number in sorted({few, mesh.users})
    }
    keys = list(mesh.keys.values())
    size = max(1, min(100, count // max(len(keys), 1)))
    # The same number of people in all, so that no more of them are over their limits.
    people = min(PEOPLE_OF_A_TENANT * len(keys), mesh.users)
    # Every tenant's templates and limits are read for the first time.
    await runs.flowing(count, PEOPLE_OF_A_TENANT, keys=keys, batch=size)
    tenants = {
        "1": await runs.flowing(count, people, batch=size),
        f"{len(keys)}": await runs.flowing(
            count, PEOPLE_OF_A_TENANT, keys=keys, batch=size
        ),
    }
    parts = {"queued": queued, "recipients": recipients, "tenants": tenants}
    ratios = {
        name: round(max(part.values()) / max(min(part.values()), 0.1), 3)
        for name, part in parts.items()
    }
    values: dict[str, Any] = {
        "cpu_us_per_notification": parts,
        "ratio": ratios,
        "batch_of_tenants": size,
        "lost": await runs.lost(),
    }
    lines = []
    for name, part in parts.items():
        lines += table(name, {"us": part})
        lines.append(f"  largest over smallest: {ratios[name]}")
    return Report(values, [*lines, f"lost {values['lost']}"])


class _Runs:
    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._deliveries = 0

    async def queued(self, depth: int, users: int) -> float:
        """CPU with so many notifications in the queue before the first is routed."""
        mesh = self._mesh
        paused = await mesh.queues.consumers("INTAKE")
        await mesh.pauses.pause("INTAKE", paused)
        watch = Stopwatch(mesh.stack)
        batch = max(1, min(1000, depth // _CALLS))
        offering = mesh.offering(None, Traffic(users), _CALLS, batch=batch)
        try:
            await self._send(offering, depth)
        finally:
            await mesh.pauses.resume("INTAKE", paused)
        return await self._cost(watch, offering)

    async def flowing(
        self, count: int, users: int, *, keys: Sequence[str] = (), batch: int = 1000
    ) -> float:
        """CPU of so many, worked off while they come."""
        mesh = self._mesh
        watch = Stopwatch(mesh.stack)
        batch = max(1, min(batch, count // _CALLS))
        offering = mesh.offering(None, Traffic(users), _CALLS, keys=keys, batch=batch)
        await self._send(offering, count)
        return await self._cost(watch, offering)

    async def lost(self) -> int:
        """Deliveries of all runs that have not ended."""
        tally = await self._mesh.settle(self._deliveries)
        return max(self._deliveries - tally.ended, 0)

    async def _send(self, offering: Offering, count: int) -> None:
        deadline = time.monotonic() + 600
        await offering.until(
            lambda: offering.accepted >= count or time.monotonic() > deadline
        )

    async def _cost(self, watch: Stopwatch, offering: Offering) -> float:
        await self._mesh.drained()
        self._deliveries += offering.deliveries
        return watch.stop(offering.accepted, offering.deliveries).cpu_us()
