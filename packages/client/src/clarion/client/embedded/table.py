"""The table of a local stack: every process with command, environment and needs."""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from clarion.client.embedded import binaries, edge, environment, health, ports
from clarion.client.embedded.child import Command
from clarion.client.embedded.credentials import Credentials
from clarion.client.embedded.environment import SANDBOX_LISTENERS, SERVICES
from clarion.client.embedded.hosts import processes_of, shared_environment
from clarion.client.embedded.processes import Process, Row, Step, Tier
from clarion.client.embedded.servers import (
    EnvoyServer,
    NatsServer,
    PostgresServer,
    Server,
    ValkeyServer,
)

# What a service needs before its first start: servers and steps. Those with a schema
# need it migrated, which is added below.
_NEEDS: Mapping[str, tuple[str, ...]] = {
    "router": ("streams", "valkey"),
    "templating": (),
    "ratelimit": ("valkey",),
    "push": ("streams", "valkey", "sandbox"),
    "email": ("streams", "valkey", "sandbox"),
    "sms": ("streams", "valkey", "sandbox"),
    "inapp": ("streams", "valkey"),
    "recipients": ("streams", "valkey"),
    "tracking": ("streams", "valkey"),
}
_SCHEMAS = ("router", "templating", "inapp", "recipients", "tracking")
_WORK_MAX_BYTES = "CLARION_WORK_MAX_BYTES"
_DRAIN_SECONDS = 10
# Longer than the drain: what stops in time is never killed.
_STOP_MARGIN_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Extent:
    """Which parts of the stack run."""

    services: tuple[str, ...] = SERVICES
    sandbox: bool = True
    edge: bool = True
    """Only where its template is found, too."""
    apart: bool = False
    """Whether every service has a process of its own."""


class Table:
    """All rows of a stack on a data folder, and what follows from them."""

    def __init__(
        self,
        data: Path,
        extent: Extent,
        ports_before: Mapping[str, int],
        settings: Mapping[str, str],
    ) -> None:
        self._data = data
        self._extent = extent
        self._settings = settings
        self._edge = edge.edge_folder() if extent.edge else None
        self.ports = ports.choose(_port_names(), ports_before)
        self.credentials = Credentials(data)
        self._nats = NatsServer(
            data / "nats",
            port=self.ports["nats"],
            monitor_port=self.ports["nats.monitor"],
        )
        self._postgres = PostgresServer(data / "postgres", port=self.ports["postgres"])
        self._valkey = ValkeyServer(data / "valkey", port=self.ports["valkey"])

    def rows(self) -> list[Row]:
        """The table. Raises MissingProgramError for what is not installed."""
        rows = [
            _server_row(server) for server in (self._nats, self._postgres, self._valkey)
        ]
        steps = [
            Step("imports", _import_runtime),
            Step("streams", self._declare_streams, needs=("nats", "imports")),
        ]
        if self._extent.sandbox:
            rows.append(self._sandbox_row())
        for name, services in self.processes.items():
            rows.append(self._service_row(name, services))
        for name in self._extent.services:
            if name in _SCHEMAS:
                run = partial(_migrate, self._postgres, name)
                needs = ("postgres", "imports")
                steps.append(Step(f"schema {name}", run, needs=needs))
        if self._edge is not None:
            rows.append(_server_row(self._envoy(self._edge), Tier.EDGE))
        for row in rows:
            # Asked once now: what is missing is said before anything starts.
            row.command()
        return [*rows, *steps]

    @property
    def processes(self) -> dict[str, tuple[str, ...]]:
        """The processes of the services, with those that each runs."""
        return processes_of(self._extent.services, apart=self._extent.apart)

    @property
    def urls(self) -> dict[str, str]:
        """Where the parts that run are reached. They hold passwords."""
        urls = {
            "grpc": f"{ports.HOST}:{self.ports['router']}",
            "nats": self._nats.url,
            "nats_monitor": self._nats.monitor_url,
            "valkey": self._valkey.url,
            "postgres": self._postgres.url,
        }
        if self._edge is not None:
            # The edge takes gRPC on the listener of the REST API.
            urls["rest"] = self._public_url
            urls["grpc"] = f"{ports.HOST}:{self.ports['envoy']}"
            urls["envoy_admin"] = f"http://{ports.HOST}:{self.ports['envoy.admin']}"
        if self._extent.sandbox:
            urls["sandbox"] = f"http://{ports.HOST}:{self.ports['sandbox.control']}"
        return urls

    def environment(self, name: str) -> dict[str, str]:
        """The CLARION_* variables of a service; complete once the sandbox is ready."""
        sandbox: dict[str, str] = {}
        with suppress(FileNotFoundError):
            sandbox = environment.read_sandbox(self._sandbox_folder)
        variables = environment.of_service(
            name,
            ports=self.ports,
            servers={
                "CLARION_NATS_URL": self._nats.url,
                "CLARION_REDIS_URL": self._valkey.url,
                "CLARION_POSTGRES_URL": self._postgres.url,
            },
            credentials=self.credentials,
            public_url=self._public_url,
            sandbox=sandbox,
        )
        variables["CLARION_DRAIN_SECONDS"] = str(_DRAIN_SECONDS)
        return {**variables, **self._settings}

    @property
    def _public_url(self) -> str:
        return f"http://{ports.HOST}:{self.ports['envoy']}"

    @property
    def _sandbox_folder(self) -> Path:
        return self._data / "sandbox"

    def _service_row(self, process: str, services: Sequence[str]) -> Process:
        is_host = len(services) > 1
        program = str(
            binaries.console_script("clarion-host" if is_host else f"clarion-{process}")
        )
        arguments = services if is_host else ()

        def command() -> Command:
            own = shared_environment({n: self.environment(n) for n in services})
            return Command((program, *arguments), dict(os.environ) | own)

        async def check() -> None:
            await asyncio.gather(*(health.check_grpc(self.ports[n]) for n in services))

        needs = {need: None for name in services for need in _NEEDS[name]}
        needs |= {f"schema {n}": None for n in services if n in _SCHEMAS}
        if not self._extent.sandbox:
            needs.pop("sandbox", None)
        return Process(
            process,
            Tier.SERVICE,
            command,
            check,
            needs=tuple(needs),
            port=self.ports[services[0]],
            # A host stops those that are called after those that call them.
            stop_seconds=_DRAIN_SECONDS * (1 + is_host) + _STOP_MARGIN_SECONDS,
        )

    def _sandbox_row(self) -> Process:
        folder = self._sandbox_folder
        program = str(binaries.console_script("clarion-sandbox"))
        variables = environment.of_sandbox(folder, self.ports, self._public_url)

        async def prepare() -> None:
            # One that was killed leaves its sign of being ready behind.
            (folder / "sandbox.json").unlink(missing_ok=True)

        control = self.ports["sandbox.control"]
        return Process(
            "sandbox",
            Tier.SANDBOX,
            lambda: Command((program,), dict(os.environ) | variables),
            partial(health.check_sandbox, folder, control),
            port=control,
            prepare=prepare,
        )

    def _envoy(self, folder: Path) -> EnvoyServer:
        return EnvoyServer(
            self._data / "envoy",
            template=folder / edge.TEMPLATE,
            values=edge.values(folder, self.ports, {**os.environ, **self._settings}),
            port=self.ports["envoy"],
            admin_port=self.ports["envoy.admin"],
        )

    async def _declare_streams(self) -> None:
        # In this process: another Python would take longer to start than this to run.
        from clarion.runtime.jetstream import Streams, declare_streams
        from clarion.runtime.streams import DEFAULT_WORK_MAX_BYTES

        streams = await Streams.connect(self._nats.url, name="clarion-up")
        try:
            settings = {**os.environ, **self._settings}
            most = int(settings.get(_WORK_MAX_BYTES) or DEFAULT_WORK_MAX_BYTES)
            await declare_streams(streams.js, 1, work_max_bytes=most)
        finally:
            await streams.close()


async def _import_runtime() -> None:
    # While the servers start, and in a thread, so that they are watched meanwhile.
    for module in ("clarion.runtime.jetstream", "clarion.runtime.migrations"):
        await asyncio.to_thread(importlib.import_module, module)


async def _migrate(postgres: PostgresServer, service: str) -> None:
    from clarion.runtime.migrations import migrate, migrations_of

    await asyncio.to_thread(migrate, postgres.url, service, migrations_of(service))


def _server_row(server: Server, tier: Tier = Tier.SERVER) -> Process:
    return Process(
        server.name,
        tier,
        server.command,
        server.check,
        port=server.port,
        prepare=server.prepare,
        clean_up=server.clean_up,
        stop_seconds=server.stop_seconds,
    )


def _port_names() -> Iterator[str]:
    # Of all parts, also of those that do not run this time: a port once chosen stays.
    yield from ("nats", "nats.monitor", "postgres", "valkey", "envoy", "envoy.admin")
    yield from (f"sandbox.{listener}" for listener in SANDBOX_LISTENERS)
    yield from SERVICES
    yield from environment.WEBHOOK_LISTENERS
