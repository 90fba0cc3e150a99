"""A child process that never outlives the process that started it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from clarion.client.embedded.accounts import Account

_LAUNCHER = str(Path(__file__).with_name("launcher.py"))
_KILL_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Command:
    """How to start a program, and by which signals it ends."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Replaces the environment; empty means: inherit it."""
    folder: Path | None = None
    """The working folder."""
    account: Account | None = None
    """Another account to run under; only root can."""
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends it when its supervisor dies (Linux only)."""


class Child:
    """A running program, started by `spawn`; `pid` and `command` are its own."""

    def __init__(self, command: Command, process: subprocess.Popen[bytes]) -> None:
        self.command = command
        self._process = process

    @classmethod
    def spawn(cls, command: Command, log: Path) -> Child:
        """Starts the program in a session of its own, its output appended to the log.

        To be called in the main thread: Linux ends a child with the *thread* that
        started it. Raises OSError where the program cannot be executed.
        """
        program = command.argv[0]
        if not os.access(program, os.X_OK):
            raise FileNotFoundError(errno.ENOENT, "no such program", program)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                (*_launcher(command), *command.argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(command.environment) or None,
                cwd=command.folder,
                # So that Ctrl-C in a terminal reaches the supervisor alone.
                start_new_session=True,
            )
        return cls(command, process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status once the process has ended; -n means: by signal n."""
        return self._process.poll()

    async def wait(self) -> int:
        """Waits for the end of the process; its exit status."""
        if self.returncode is None:
            await _wait_for_exit(self._process)
        return self._process.wait()

    async def stop(self, timeout: float) -> None:
        """Asks the process to end; kills it when it has not after so many seconds."""
        if self.returncode is None:
            self.signal(self.command.stop_signal)
            try:
                await asyncio.wait_for(self.wait(), timeout)
            except TimeoutError:
                pass
            finally:
                self.kill()

    def kill(self) -> None:
        """SIGKILL to the process and what it started; returns when all are gone."""
        if self.returncode is not None:
            return
        try:
            started = psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            started = []
        self.signal(signal.SIGKILL)
        for process in started:
            # psutil compares start times, so a reused pid is never hit.
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        deadline = time.monotonic() + _KILL_SECONDS
        while any(map(_runs, started)) and time.monotonic() < deadline:
            time.sleep(0.001)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal; nothing happens when the process has ended."""
        self._process.send_signal(number)


def _runs(process: psutil.Process) -> bool:
    # One that has ended may wait as a zombie for an init that is slow to notice.
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _launcher(command: Command) -> tuple[str, ...]:
    account = command.account
    if account is None:
        identity = ("-", "-", "-")
    else:
        kept = "-" if account.capability is None else str(account.capability)
        identity = (str(account.uid), str(account.gid), kept)
    return (
        # Isolated and without site-packages, so that it is there at once.
        *(sys.executable, "-I", "-S", _LAUNCHER),
        *(str(os.getpid()), str(int(command.death_signal)), *identity),
    )


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _wait_for_exit(process: subprocess.Popen[bytes]) -> None:
    if not hasattr(os, "pidfd_open"):
        while process.poll() is None:  # noqa: ASYNC110  nothing would set an event
            await asyncio.sleep(0.05)
        return
    descriptor = os.pidfd_open(process.pid)
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, _settle, ended)
    try:
        await ended
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
