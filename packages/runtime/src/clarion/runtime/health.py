"""Readiness: dependency checks polled into grpc.health.v1.

A service is NOT_SERVING until every dependency has answered once, while one fails, and
from the moment it stops. Liveness is that the process answers at all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic
from typing import Any

from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

logger = logging.getLogger(__name__)

OVERALL = ""
"""The health name of the process as a whole."""

_POLL = timedelta(seconds=1)
_LIMIT = timedelta(seconds=2)
# One slow answer must not take every replica out of rotation at the same moment.
_FAILURES_UNTIL_DOWN = 2
# Long enough for NOT_SERVING to reach those who watch, before their stream ends.
_FAREWELL_SECONDS = 0.1

Check = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Dependency:
    """One thing that the service needs, and how it was at the last look."""

    name: str
    check: Check = field(repr=False)
    healthy: bool = False
    latency: timedelta = timedelta()
    problem: str = "not checked yet"
    failures: int = _FAILURES_UNTIL_DOWN


class WatchableHealth(HealthServicer):
    """The library's servicer, whose watches end when the service stops.

    Every channel of the mesh watches its neighbours. The library's watches never end by
    themselves, so each stop would wait for the whole drain limit.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stopping = asyncio.Event()

    async def Watch(self, request: Any, context: Any) -> None:
        watching = asyncio.create_task(super().Watch(request, context))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait(
                {watching, stopping}, return_when=asyncio.FIRST_COMPLETED
            )
            if watching.done():
                await watching
        finally:
            stopping.cancel()
            watching.cancel()

    async def enter_graceful_shutdown(self) -> None:
        await super().enter_graceful_shutdown()
        await asyncio.sleep(_FAREWELL_SECONDS)
        self._stopping.set()


class Health:
    """The health of one service, kept up to date by ``poll``."""

    def __init__(self) -> None:
        self._servicer = WatchableHealth()
        self._names = [OVERALL]
        self._dependencies: list[Dependency] = []
        self._serving: bool | None = None

    @property
    def dependencies(self) -> tuple[Dependency, ...]:
        """What is checked, with the last result."""
        return tuple(self._dependencies)

    @property
    def serving(self) -> bool:
        """What callers are told now."""
        return self._serving is True

    def depends_on(self, name: str, check: Check) -> None:
        """Adds a dependency; its check raises while it is not usable."""
        self._dependencies.append(Dependency(name, check))

    async def attach(self, server: Any, services: Iterable[str]) -> None:
        """Registers with the server; everything is NOT_SERVING until polled."""
        self._names += services
        add_HealthServicer_to_server(self._servicer, server)
        await self._tell(False)

    async def poll(self) -> None:
        """Checks for ever; a supervised task."""
        while True:
            await self.look()
            await asyncio.sleep(_POLL.total_seconds())

    async def look(self) -> None:
        """Checks every dependency once and tells callers the outcome."""
        await asyncio.gather(*(self._look_at(d) for d in self._dependencies))
        await self._tell(all(d.healthy for d in self._dependencies))

    async def stop(self) -> None:
        """NOT_SERVING for good; returns when those who watch have had time to read."""
        self._serving = False
        await self._servicer.enter_graceful_shutdown()

    async def _look_at(self, dependency: Dependency) -> None:
        started = monotonic()
        try:
            async with asyncio.timeout(_LIMIT.total_seconds()):
                await dependency.check()
        except Exception as error:
            dependency.failures += 1
            dependency.problem = f"{type(error).__name__}: {error}"
            down = dependency.failures >= _FAILURES_UNTIL_DOWN
            if down and dependency.healthy:
                dependency.healthy = False
                logger.warning(
                    "dependency down",
                    extra={
                        "dependency": dependency.name,
                        "problem": dependency.problem,
                    },
                )
        else:
            if not dependency.healthy:
                logger.info("dependency up", extra={"dependency": dependency.name})
            dependency.healthy, dependency.failures = True, 0
            dependency.problem = ""
        dependency.latency = timedelta(seconds=monotonic() - started)

    async def _tell(self, serving: bool) -> None:
        if serving == self._serving:
            return
        self._serving = serving
        status = (
            HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING
        )
        for name in self._names:
            await self._servicer.set(name, status)
