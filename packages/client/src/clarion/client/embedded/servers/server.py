"""What all embedded servers share: start, wait until it answers, stop, kill, again."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from clarion.client.embedded import ports
from clarion.client.embedded.child import Child, Command
from clarion.client.embedded.errors import StartError
from clarion.client.embedded.log_files import tail

_POLL_SECONDS = 0.02
_CHECK_SECONDS = 2.0


class Server(ABC):
    """A server on loopback whose data lives in one folder.

    As an async context manager it runs until the end of the block. It keeps nothing of
    the event loop, so `start` and `stop` may run in different loops. `start` must run
    in a thread that lives as long as the server: Linux ends it with the thread.
    """

    name: ClassVar[str]
    stop_seconds: ClassVar[float] = 10
    folder_mode: ClassVar[int] = 0o700

    def __init__(
        self, folder: Path, *, port: int | None = None, log: Path | None = None
    ) -> None:
        """Nothing is started yet. The port is a free one unless given."""
        self.folder = folder.absolute()
        self.port = port or ports.free_port()
        self.log = (log or self.folder / f"{self.name}.log").absolute()
        self._child: Child | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect to; the same after every start."""

    @property
    def address(self) -> str:
        """host:port."""
        return f"{ports.HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id; None when it does not run."""
        child = self._child
        return child.pid if child is not None and child.returncode is None else None

    async def prepare(self) -> None:
        """Makes the folder and what must be in it; safe to repeat."""
        make_folder(self.folder, self.folder_mode)

    @abstractmethod
    def command(self) -> Command:
        """How to start it; raises MissingProgramError."""

    @abstractmethod
    async def check(self) -> None:
        """Returns when it serves; raises OSError or another error when it does not."""

    def clean_up(self) -> None:  # noqa: B027  most have nothing to remove
        """Removes what a killed server leaves behind outside its folder."""

    async def start(self, timeout: float = 30) -> None:
        """Starts it and waits until it serves; raises StartError."""
        if self.pid is not None:
            return
        await self.prepare()
        child = self._child = Child.spawn(self.command(), self.log)
        try:
            await wait_until_ready(self.name, child, self.check, self.log, timeout)
        except BaseException:
            child.kill()
            self.clean_up()
            raise

    async def stop(self) -> None:
        """Stops it in good order; kills it where that takes too long."""
        if self._child is not None:
            await self._child.stop(self.stop_seconds)
            self._child = None
        self.clean_up()

    async def kill(self) -> None:
        """Ends it as a crash would: SIGKILL. `start` brings it back with its data."""
        if self._child is not None:
            self._child.kill()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()


def make_folder(folder: Path, mode: int) -> None:
    """Makes the folder with that mode; one that exists keeps its own."""
    folder.mkdir(mode=mode, parents=True, exist_ok=True)


async def wait_until_ready(
    name: str,
    child: Child,
    check: Callable[[], Awaitable[None]],
    log: Path,
    timeout: float,
) -> None:
    """Waits until the check passes; raises StartError when the child ends before."""
    answering = asyncio.create_task(_until_it_passes(check), name=f"check {name}")
    ending = asyncio.create_task(child.wait(), name=f"wait {name}")
    try:
        await asyncio.wait(
            {answering, ending}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
        )
        if answering.done() and not ending.done():
            return
        what = (
            f"ended at its start with status {ending.result()}"
            if ending.done()
            else f"did not answer within {timeout:g} s"
        )
        raise StartError(f"{name} {what}. Its log, {log}, ends with:\n{tail(log)}")
    finally:
        for task in (answering, ending):
            task.cancel()
        await asyncio.gather(answering, ending, return_exceptions=True)


async def _until_it_passes(check: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            return await asyncio.wait_for(check(), _CHECK_SECONDS)
        except Exception:  # whatever a half-started server makes a client raise
            await asyncio.sleep(_POLL_SECONDS)


async def can_connect(port: int) -> None:
    """Opens and closes a TCP connection; raises OSError."""
    _, writer = await asyncio.open_connection(ports.HOST, port)
    writer.close()
    await writer.wait_closed()


async def exchange(port: int, request: bytes, until: bytes) -> bytes:
    """Sends bytes and reads up to a mark; raises OSError or IncompleteReadError."""
    reader, writer = await asyncio.open_connection(ports.HOST, port)
    try:
        writer.write(request)
        return await reader.readuntil(until)
    finally:
        writer.close()
        await writer.wait_closed()
