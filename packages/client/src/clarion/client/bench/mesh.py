"""A stack of its own, with people and a template, ready to be loaded."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from clarion.client.bench.offering import Gate, Offering
from clarion.client.bench.pauses import Pauses
from clarion.client.bench.people import load_people
from clarion.client.bench.processes import cpu_seconds, resident_mib, spent
from clarion.client.bench.queues import Queues
from clarion.client.bench.storage import Stored, stored
from clarion.client.bench.tally import Tally, Tracked, taken_by_sinks
from clarion.client.bench.tenants import PEOPLE_OF_A_TENANT, make_tenants
from clarion.client.bench.traffic import Traffic, template
from clarion.client.client import Client
from clarion.client.embedded import Stack

_PATIENCE = 30.0
"""Seconds without any progress after which the rest counts as lost."""


@dataclass(frozen=True, slots=True)
class Spent:
    """One stretch of load, from the first send until all was stored."""

    accepted: int
    deliveries: int
    seconds: float
    cpu: dict[str, float]
    """Seconds by process."""

    @property
    def per_second(self) -> float:
        """Notifications."""
        return round(self.accepted / max(self.seconds, 1e-9), 1)

    def cpu_us(self) -> float:
        """CPU microseconds a notification, of all processes together."""
        return round(sum(self.cpu.values()) * 1e6 / max(self.accepted, 1), 1)

    def by_process(self) -> dict[str, float]:
        """CPU microseconds a notification, by process."""
        return {
            name: round(seconds * 1e6 / max(self.accepted, 1), 1)
            for name, seconds in self.cpu.items()
        }


class Mesh:
    """``async with Mesh(users) as mesh``: started and filled.

    With ``sinks`` its channels deliver into sinks, else to the sandbox.
    """

    def __init__(
        self,
        users: int,
        *,
        sinks: bool = True,
        settings: Mapping[str, str] | None = None,
        tenants: int = 1,
        rest: float = 0,
        apart: bool | None = None,
    ) -> None:
        """Nothing is started yet.

        ``rest`` are seconds before memory is looked at; ``apart``: see Stack.
        """
        self.users = users
        self.keys: dict[str, str] = {}
        """API keys by tenant, where there is more than the one."""
        self.idle_mib: dict[str, float]
        """Resident memory by process before anything was done."""
        self.stack: Stack
        self.queues: Queues
        self.tracked: Tracked
        self.http: aiohttp.ClientSession
        self._settings = dict(settings or {})
        if sinks:
            self._settings["CLARION_DRY_RUN"] = "true"
        self._tenants = tenants
        self._rest = rest
        self._apart = apart
        self.pauses: Pauses
        self._folder: Path
        self._around = AsyncExitStack()
        self._inside = AsyncExitStack()

    async def __aenter__(self) -> Self:
        enter = self._inside.enter_async_context
        folder = self._around.enter_context(tempfile.TemporaryDirectory())
        self._folder = Path(folder) / "stack"
        try:
            if self._tenants > 1:
                self.keys = make_tenants(self._folder, self._tenants)
            self.stack = await enter(
                Stack(self._folder, settings=self._settings, apart=self._apart)
            )
            await asyncio.sleep(self._rest)
            self.idle_mib = resident_mib(self.stack)
            self.http = await enter(aiohttp.ClientSession())
            self.queues = Queues(self.stack.urls["nats_monitor"], self.http)
            self.pauses = await Pauses.connect(self.stack.urls["nats"])
            self._inside.push_async_callback(self.pauses.close)
            url = self.stack.urls["postgres"]
            self.tracked = await Tracked.connect(url)
            self._inside.push_async_callback(self.tracked.close)
            await asyncio.to_thread(load_people, url, self.users)
            await self._add_template(self.stack.demo_key)
            for tenant, key in self.keys.items():
                await asyncio.to_thread(load_people, url, PEOPLE_OF_A_TENANT, tenant)
                await self._add_template(key)
        except BaseException:
            await self._inside.aclose()
            await self._around.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._inside.aclose()
        await self._around.aclose()

    async def _add_template(self, key: str) -> None:
        async with Client(self.stack.urls["grpc"], key) as client:
            await client.put_template(template())

    async def stored(self) -> Stored:
        """The bytes that the servers hold now."""
        return await stored(self.tracked, self.queues, self.stack.urls["valkey"])

    def gate(self, window: int) -> Gate:
        """A gate on the queues of this stack."""
        return Gate(self.queues, window)

    def offering(
        self,
        gate: Gate | None,
        traffic: Traffic,
        calls: int,
        *,
        keys: Sequence[str] = (),
        batch: int = 1000,
    ) -> Offering:
        """A load generator towards the edge; each call by the next of the keys."""
        stack = self.stack
        keys = keys or (stack.demo_key,)
        target = stack.urls["grpc"]
        return Offering(target, keys, traffic, gate, batch=batch, calls=calls)

    async def work_off(self, gate: Gate, offering: Offering, seconds: float) -> Spent:
        """Offers for so long, waits until the queues are empty: what all of it took."""
        watch = Stopwatch(self.stack)
        await watched(gate, offering, seconds)
        await self.drained()
        return watch.stop(offering.accepted, offering.deliveries)

    async def drained(self) -> None:
        """Waits until the queues are empty, or nothing moves any more.

        What leaves a queue is in the next one already, so nothing hides between them.
        """
        last, since = (-1, -1, -1), time.monotonic()
        while True:
            depth = await self.queues.depth()
            if depth.is_empty:
                return
            waiting = depth.work_messages, depth.event_messages
            here = (*waiting, await self.tracked.rows())
            if here != last:
                last, since = here, time.monotonic()
            elif time.monotonic() - since > _PATIENCE:
                return
            await asyncio.sleep(0.1)

    async def settle(self, deliveries: int) -> Tally:
        """What became of everything; waits a while for what waits to be tried again."""
        await self.drained()
        since = time.monotonic()
        while True:
            tally = await self.tracked.count()
            late = time.monotonic() - since > _PATIENCE
            if tally.ended >= deliveries or late:
                return tally
            await asyncio.sleep(1)

    async def stop(self) -> Counter[str]:
        """Stops the stack; what its sinks counted."""
        await self._inside.aclose()
        return taken_by_sinks(self._folder / "logs")


class Stopwatch:
    """Time and CPU of a stack from ``start`` to ``stop``."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._cpu = cpu_seconds(stack)
        self.started = time.time()
        self._monotonic = time.monotonic()

    def stop(self, accepted: int, deliveries: int) -> Spent:
        """What was used since it was made, for so many notifications."""
        seconds = time.monotonic() - self._monotonic
        used = spent(self._cpu, cpu_seconds(self._stack))
        return Spent(accepted, deliveries, seconds, used)


async def watched(gate: Gate, offering: Offering, seconds: float) -> None:
    """Offers for so long while the gate is watched."""
    end = time.monotonic() + seconds
    watching = asyncio.create_task(gate.watch())
    try:
        await offering.until(lambda: time.monotonic() >= end)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
