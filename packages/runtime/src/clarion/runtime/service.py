"""One way to start a service: settings, wiring, server, consumers, signals, drain."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import timedelta
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import grpc

from clarion.runtime.channel import MeshChannel, open_channel
from clarion.runtime.credentials import ApiKeys
from clarion.runtime.errors import PreconditionError
from clarion.runtime.health import Health
from clarion.runtime.near import NearChannel
from clarion.runtime.server import AddToServer, GrpcServer
from clarion.runtime.settings import RuntimeSettings
from clarion.runtime.supervise import Supervisor

if TYPE_CHECKING:
    from psycopg_pool import AsyncConnectionPool
    from redis.asyncio import Redis

    from clarion.runtime.jetstream import Consumer, Streams

logger = logging.getLogger(__name__)


class Listener(Protocol):
    """What takes calls beside the gRPC server."""

    async def start(self) -> None:
        """Listens; OSError when the address cannot be had."""
        ...

    async def stop(self, grace: float) -> None:
        """Takes no more, and ends what outlasts the grace (seconds)."""
        ...


# One resource that does not close must not keep the others from being closed.
_CLOSE_SECONDS = 5.0


class Service:
    """What a service's ``build`` wires itself into.

    Everything that is added here is started, watched and stopped in the right order by
    ``start`` and ``stop``.
    """

    def __init__(
        self,
        name: str,
        settings: RuntimeSettings,
        *,
        neighbours: Mapping[str, Service] = MappingProxyType({}),
    ) -> None:
        """Needs a running loop. ConfigError when the keys file cannot be used.

        ``neighbours`` are the services of this process by name, itself included or not;
        they may be added until ``build`` asks for a channel.
        """
        self.name = name
        self._neighbours = neighbours
        self.settings = settings
        self.health = Health()
        self.stopping = asyncio.Event()
        """Set when the service begins to stop: endless responses should end then."""
        self._server = GrpcServer(
            settings.listen, ApiKeys(settings.api_keys_file), self.health
        )
        self._supervisor = Supervisor()
        self._channels: dict[str, MeshChannel] = {}
        self._listeners: list[Listener] = []
        self._consumers: list[Consumer] = []
        self._tasks: list[tuple[str, Callable[[], Coroutine[Any, Any, None]]]] = []
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self._streams: Streams | None = None
        self._redis: Redis | None = None
        self._postgres: AsyncConnectionPool | None = None

    @property
    def port(self) -> int:
        """The port of the gRPC server; 0 until it has started."""
        return self._server.port

    @property
    def is_serving(self) -> bool:
        """Whether it takes calls: started, what it needs is there, not stopping."""
        return self.health.serving

    def handler(self, path: str) -> Any:
        """What serves ``/package.Service/Method`` here; None where nothing does."""
        return self._server.handler(path)

    @property
    def streams(self) -> Streams:
        """The connection to JetStream; PreconditionError before connect_streams."""
        if self._streams is None:
            raise PreconditionError("await service.connect_streams() first")
        return self._streams

    async def connect_streams(self) -> Streams:
        """Connects to NATS, once; waits for a server that is not there yet."""
        if self._streams is None:
            from clarion.runtime.jetstream import Streams

            url = self.settings.url("nats")
            streams = await Streams.connect(
                url,
                name=f"clarion-{self.name}",
                compresses=self.settings.stream_compression,
            )
            self._streams = streams

            async def until_lost() -> None:
                reason = await asyncio.shield(streams.lost)
                raise ConnectionError(f"NATS closed the connection: {reason}")

            self.add_task("nats-connection", until_lost)
            self.depends_on("nats", streams.check)
            self.on_close(streams.close)
        return self._streams

    async def redis(self) -> Redis:
        """The Redis client, one for the service; connects on first use."""
        if self._redis is None:
            from clarion.runtime.valkey import open_client

            client = open_client(self.settings.url("redis"))
            self._redis = client

            async def check() -> None:
                await client.ping()

            self.depends_on("redis", check)
            self.on_close(client.aclose)
        return self._redis

    async def postgres(self, *, autocommit: bool = False) -> AsyncConnectionPool:
        """The pool, one for the service (``open_pool``); connects in the background."""
        if self._postgres is None:
            from clarion.runtime.postgres import check_pool, open_pool

            url = self.settings.url("postgres")
            pool = await open_pool(url, self.name, autocommit=autocommit)
            self._postgres = pool
            self.depends_on("postgres", lambda: check_pool(pool))
            self.on_close(pool.close)
        return self._postgres

    def channel(self, neighbour: str) -> grpc.aio.Channel:
        """The channel to a neighbour, one for each; ConfigError without a target.

        Calls on it carry credential, tenant, trace and what is left of the deadline,
        and raise the errors of clarion.runtime.errors. Unary calls to a service of the
        same process stay in it.
        """
        if neighbour not in self._channels:
            target, key = self.settings.target(neighbour), self.settings.service_key
            near = self._neighbours.get(neighbour)
            channel = (
                open_channel(target, key=key)
                if near is None
                else NearChannel(near, target, key)
            )
            self._channels[neighbour] = channel
            self.on_close(channel.close)
        return self._channels[neighbour]

    def add_servicer(
        self, add_to_server: AddToServer, servicer: object, *service_names: str
    ) -> None:
        """Serves a servicer; the names of its services are found by themselves."""
        self._server.add(add_to_server, servicer, *service_names)

    def add_listener(self, listener: Listener) -> None:
        """Runs a listener: started and stopped with the server."""
        self._listeners.append(listener)

    def add_consumer(self, consumer: Consumer) -> None:
        """Runs a consumer: started after the server, stopped before it."""
        self._consumers.append(consumer)

    def add_task(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs a task until the service stops; if it ends before, the service does."""
        self._tasks.append((name, run))

    def depends_on(self, name: str, check: Callable[[], Awaitable[None]]) -> None:
        """Makes readiness depend on a check that raises while something is down."""
        self.health.depends_on(name, check)

    def on_close(self, close: Callable[[], Awaitable[None]]) -> None:
        """Closes something at the end, in reverse order of the calls."""
        self._closers.append(close)

    async def start(self) -> None:
        """Starts server and listeners, then consumers and tasks, then readiness."""
        await self._server.start()
        for listener in self._listeners:
            await listener.start()
        for name, task in self._tasks:
            self._supervisor.start(name, task)
        for consumer in self._consumers:
            await consumer.start()
            self._supervisor.start(f"consumer {consumer.name}", consumer.wait)
        self._supervisor.start("health", self.health.poll)
        logger.info(
            "service started",
            extra={"port": self.port, "services": self._server.services},
        )

    async def failed(self) -> str:
        """Waits until a supervised task dies; its name."""
        return await self._supervisor.failed()

    async def stop(self) -> None:
        """Stops in order: NOT_SERVING, consumers, servers, tasks, resources.

        Work under way has ``settings.drain`` to finish, consumers and RPCs together.
        """
        started = monotonic()
        drain = self.settings.drain.total_seconds()
        self.stopping.set()
        await self.health.stop()
        self._supervisor.release()
        await asyncio.gather(
            *(self._stop_consumer(consumer) for consumer in self._consumers)
        )
        left = max(0.0, drain - (monotonic() - started))
        await asyncio.gather(
            self._server.stop(left),
            *(listener.stop(left) for listener in self._listeners),
        )
        await self._supervisor.stop()
        for close in reversed(self._closers):
            try:
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await close()
            except Exception:
                logger.warning("close failed", exc_info=True)
        logger.info(
            "service stopped", extra={"seconds": round(monotonic() - started, 2)}
        )

    async def _stop_consumer(self, consumer: Consumer) -> None:
        limit: timedelta = self.settings.drain
        try:
            await consumer.stop(limit)
        except Exception:
            logger.warning(
                "consumer stop failed",
                extra={"consumer": consumer.name},
                exc_info=True,
            )
