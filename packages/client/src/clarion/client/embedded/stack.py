"""The whole mesh on one machine: `async with Stack(data) as stack: ...`."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from clarion.client.embedded import ports
from clarion.client.embedded.credentials import Credentials
from clarion.client.embedded.environment import SERVICES
from clarion.client.embedded.errors import NotRunningError
from clarion.client.embedded.hosts import is_apart
from clarion.client.embedded.state import (
    DEFAULT_DATA,
    ProcessState,
    StackState,
    StateFile,
)
from clarion.client.embedded.supervisor import Supervisor
from clarion.client.embedded.table import Extent, Table


class Stack:
    """Servers, services, sandbox and edge as processes of this one.

    Entering the context starts all and waits until they are ready; leaving it stops
    all and keeps the data. To be used in the main thread (see Supervisor).
    """

    def __init__(
        self,
        data: Path = DEFAULT_DATA,
        *,
        services: Collection[str] = SERVICES,
        sandbox: bool = True,
        edge: bool = True,
        settings: Mapping[str, str] | None = None,
        apart: bool | None = None,
        ready_seconds: float = 60,
    ) -> None:
        """Nothing is started yet.

        ``services`` may be fewer than all. ``settings`` are more environment variables
        for every service. The edge runs only where its template is found. With
        ``apart`` every service has a process of its own (by default as CLARION_APART
        says): else some share one, see ``hosts``.
        """
        unknown = set(services) - set(SERVICES)
        if unknown:
            raise ValueError(f"no such services: {', '.join(sorted(unknown))}")
        self.data = data.absolute()
        self.credentials = Credentials(self.data)
        chosen = tuple(name for name in SERVICES if name in services)
        self._extent = Extent(
            chosen,
            sandbox=sandbox,
            edge=edge,
            apart=is_apart() if apart is None else apart,
        )
        self._settings = dict(settings or {})
        self._ready_seconds = ready_seconds
        self._file = StateFile(self.data)
        self._state = StackState()
        self._table: Table | None = None
        self._supervisor: Supervisor | None = None

    @property
    def state(self) -> StackState:
        """What ``stack.json`` says."""
        return self._state

    @property
    def urls(self) -> dict[str, str]:
        """rest (with the edge), grpc (host:port), sandbox, nats, valkey, postgres."""
        return self._state.urls

    @property
    def demo_key(self) -> str:
        """The API key of the tenant ``demo``."""
        return self.credentials.demo_key

    def address(self, name: str) -> str:
        """host:port of a service or server."""
        return f"{ports.HOST}:{self._state.ports[name]}"

    def environment(self, name: str) -> dict[str, str]:
        """The CLARION_* variables of a service; complete once the sandbox is ready."""
        if self._table is None:
            raise NotRunningError("the stack was not started")
        return self._table.environment(name)

    def process(self, name: str) -> ProcessState:
        """The process of a service or server as it is now; KeyError for others."""
        return self._state.processes[self._process_of(name)]

    def kill(self, name: str) -> None:
        """SIGKILL to the process of a service or server, for fault tests; the
        supervisor restarts it."""
        self._running.kill(self._process_of(name))

    async def start(self) -> None:
        """Starts everything and returns at once; see `wait_ready`.

        Raises AlreadyRunningError, and MissingProgramError before anything starts.
        """
        self._file.lock.__enter__()
        try:
            table = self._table = Table(
                self.data, self._extent, self._file.read().ports, self._settings
            )
            supervisor = Supervisor(
                table.rows(), self.data / "logs", on_change=self._write
            )
            self.credentials.make()
            # Logs may tell more than anybody on the machine should know.
            (self.data / "logs").mkdir(mode=0o700, exist_ok=True)
            self._state = StackState(
                pid=os.getpid(),
                started_time=datetime.now(UTC).isoformat(timespec="seconds"),
                urls=table.urls,
                processes=supervisor.states,
                ports=table.ports,
            )
            self._write()
            supervisor.start()
            self._supervisor = supervisor
        except BaseException:
            self._file.lock.__exit__(None, None, None)
            raise

    async def wait_ready(self, timeout: float | None = None) -> None:
        """Waits until all is ready; StartError says what is not, and why."""
        await self._running.wait_ready(timeout or self._ready_seconds)
        self._state.ready = True
        self._write()

    async def stop(self) -> None:
        """Stops everything in good order; the data stays."""
        if self._supervisor is None:
            return
        try:
            await self._supervisor.stop()
            self._state.pid, self._state.ready = None, False
            self._write()
        finally:
            self._supervisor = None
            self._file.lock.__exit__(None, None, None)

    def kill_all(self) -> None:
        """Ends every process at once, for a second Ctrl-C; then `stop` ends soon."""
        if self._supervisor is not None:
            self._supervisor.kill_all()

    async def __aenter__(self) -> Self:
        await self.start()
        try:
            await self.wait_ready()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def _process_of(self, name: str) -> str:
        if self._table is not None:
            for process, services in self._table.processes.items():
                if name in services:
                    return process
        return name

    @property
    def _running(self) -> Supervisor:
        if self._supervisor is None:
            raise NotRunningError("the stack does not run")
        return self._supervisor

    def _write(self) -> None:
        self._file.write(self._state)
