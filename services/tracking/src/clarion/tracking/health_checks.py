"""Asks the database, the queue, the channels and the rate limiter how they are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

import grpc
from psycopg_pool import AsyncConnectionPool

from clarion.api.channel.v1 import channel_service_pb2 as channel_pb2
from clarion.api.channel.v1 import channel_service_pb2_grpc as channel_pb2_grpc
from clarion.api.ratelimit.v1 import rate_limit_service_pb2 as limits_pb2
from clarion.api.ratelimit.v1 import rate_limit_service_pb2_grpc as limits_pb2_grpc
from clarion.runtime import streams as table
from clarion.runtime.caller import as_tenant
from clarion.runtime.clock import Clock
from clarion.runtime.errors import ClarionError
from clarion.runtime.jetstream import StreamApi
from clarion.tracking import health
from clarion.tracking.database_errors import translated
from clarion.tracking.health import Finding

_log = logging.getLogger(__name__)

Check = Callable[[], Awaitable[Finding]]

LIMIT = timedelta(seconds=1)
"""How long one check may take."""
SYSTEM_TENANT = "system"
"""Neighbours are asked in the name of no customer."""


class HealthChecks:
    """Runs all checks at once; an answer is good for a second.

    Everybody may ask (the RPC is public), so asking often must cost nothing.
    """

    def __init__(
        self,
        checks: Mapping[str, Check],
        clock: Clock,
        *,
        limit: timedelta = LIMIT,
        fresh_for: timedelta = timedelta(seconds=1),
    ) -> None:
        self._checks = checks
        self._clock = clock
        self._limit = limit.total_seconds()
        self._fresh_for = fresh_for.total_seconds()
        self._turn = asyncio.Lock()
        self._findings: dict[str, Finding] = {}
        self._found_at: float | None = None

    async def findings(self) -> Mapping[str, Finding]:
        """Name -> what was found."""
        async with self._turn:
            now = self._clock.monotonic()
            if self._found_at is None or now - self._found_at >= self._fresh_for:
                names = list(self._checks)
                found = await asyncio.gather(*(self._run(name) for name in names))
                self._findings = dict(zip(names, found, strict=True))
                self._found_at = self._clock.monotonic()
            return self._findings

    async def _run(self, name: str) -> Finding:
        started = self._clock.monotonic()
        detail = "the check failed"
        try:
            async with asyncio.timeout(self._limit):
                return await self._checks[name]()
        except TimeoutError:
            detail = f"no answer within {self._limit} s"
        except ClarionError:
            detail = "no answer"
        except Exception:
            # What one check did not expect must not hide the answers of the others.
            _log.warning("health check failed", extra={"check": name}, exc_info=True)
        took = timedelta(seconds=self._clock.monotonic() - started)
        return Finding(health.UNHEALTHY, took, detail=detail)


class Probes:
    """The four checks."""

    def __init__(
        self,
        pool: AsyncConnectionPool,
        streams: StreamApi,
        channels: Mapping[str, grpc.aio.Channel],
        ratelimit: grpc.aio.Channel,
        clock: Clock,
    ) -> None:
        self._pool = pool
        self._streams = streams
        self._stubs = {
            name: channel_pb2_grpc.ChannelServiceStub(channel)
            for name, channel in channels.items()
        }
        self._ratelimit = limits_pb2_grpc.RateLimitServiceStub(ratelimit)
        self._clock = clock

    def checks(self) -> Mapping[str, Check]:
        """By the names of the contract."""
        return {
            "database": self.database,
            "queue": self.queue,
            "provider": self.provider,
            "rate_limiter": self.rate_limiter,
        }

    async def database(self) -> Finding:
        """One query on one connection."""
        started = self._clock.monotonic()
        limit = LIMIT.total_seconds()
        with translated():
            async with self._pool.connection(timeout=limit) as connection:
                await connection.execute("SELECT 1")
        return health.by_latency(self._since(started))

    async def queue(self) -> Finding:
        """What waits in the queues, all stages and lanes together."""
        started = self._clock.monotonic()
        queues = (table.SCHED, *table.QUEUES)
        durables = [d for d in table.durables() if d.stream in queues]
        answers = await asyncio.gather(
            *(
                self._streams.request(f"CONSUMER.INFO.{durable.stream}.{durable.name}")
                for durable in durables
            )
        )
        depth = sum(int(answer.get("num_pending", 0)) for answer in answers)
        return health.by_depth(depth, self._since(started))

    async def provider(self) -> Finding:
        """What each channel says of its providers."""
        started = self._clock.monotonic()
        names = list(self._stubs)
        states = await asyncio.gather(*(self._providers_of(name) for name in names))
        found = dict(zip(names, states, strict=True))
        return health.by_providers(found, self._since(started))

    async def rate_limiter(self) -> Finding:
        """A read of the rate limiter's store, without which it cannot count."""
        started = self._clock.monotonic()
        request = limits_pb2.ListPoliciesRequest()
        with as_tenant(SYSTEM_TENANT):
            await self._ratelimit.ListPolicies(request, timeout=LIMIT.total_seconds())
        return health.by_latency(self._since(started))

    async def _providers_of(self, channel: str) -> dict[str, str] | None:
        request = channel_pb2.DescribeChannelRequest()
        # Shorter than the check's own limit, so that one hanging channel is named.
        limit = LIMIT.total_seconds() * 0.8
        try:
            with as_tenant(SYSTEM_TENANT):
                answer = await self._stubs[channel].DescribeChannel(
                    request, timeout=limit
                )
        except ClarionError:
            return None
        return {status.provider: status.state for status in answer.providers}

    def _since(self, started: float) -> timedelta:
        return timedelta(seconds=self._clock.monotonic() - started)
