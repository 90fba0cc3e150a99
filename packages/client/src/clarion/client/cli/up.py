"""``clarion up``: the whole mesh on this machine."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clarion.client.cli.options import data_option, plain_errors

if TYPE_CHECKING:
    from clarion.client.embedded import Stack

_FORCED = 130


@click.command(name="up")
@data_option
@click.option(
    "--detach/--no-detach", "-d", help="Return when ready; it runs in the background."
)
@click.option(
    "--sandbox/--no-sandbox", default=True, help="Run a fake of every provider."
)
@click.option("--edge/--no-edge", default=True, help="Run Envoy, which serves REST.")
@click.option(
    "--services",
    metavar="NAMES",
    help="Run these services alone, such as router,push; 'none' runs none.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=60,
    show_default=True,
    help="Seconds until it must be ready.",
)
def command(
    data: Path,
    detach: bool,
    sandbox: bool,
    edge: bool,
    services: str | None,
    timeout: float,
) -> None:
    """Start the whole mesh on this machine.

    NATS, PostgreSQL, Valkey, Envoy, the nine services and a sandbox that plays every
    provider, on free ports of 127.0.0.1. Ctrl-C stops it; a second Ctrl-C at once. The
    data stays, and so do the ports, for the next start.

    \b
    Examples:
      clarion up
      clarion up --detach && clarion status
      clarion up --data /tmp/other          a second, separate stack
    """
    with plain_errors():
        if detach:
            _run_detached(data, timeout)
            return
        from clarion.client.embedded import Stack

        chosen = _names(services)
        stack = Stack(data, services=chosen, sandbox=sandbox, edge=edge)
        sys.exit(asyncio.run(_run(stack, timeout)))


def _names(given: str | None) -> tuple[str, ...]:
    from clarion.client.embedded.environment import SERVICES

    if given is None:
        return SERVICES
    names = tuple(name for name in given.split(",") if name and name != "none")
    unknown = [name for name in names if name not in SERVICES]
    if unknown:
        raise click.BadParameter(
            f"no such service: {', '.join(unknown)}. There are: {', '.join(SERVICES)}"
        )
    return names


async def _run(stack: Stack, timeout: float) -> int:
    is_terminal = sys.stdout.isatty()
    stopping = asyncio.Event()
    forced = False

    def on_signal() -> None:
        nonlocal forced
        if stopping.is_set():
            forced = True
            stack.kill_all()
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal)
    started = time.monotonic()
    await stack.start()
    _write_log(stack.data, is_terminal)
    showing = asyncio.create_task(_show(stack, is_terminal), name="show")
    try:
        if await _until_ready(stack, timeout, stopping):
            seconds = time.monotonic() - started
            if not is_terminal:
                click.echo(f"ready in {seconds:.1f} s: {stack.urls.get('rest', '')}")
            await stopping.wait()
    finally:
        # Shown until all have stopped, so that a slow one can be seen.
        await stack.stop()
        showing.cancel()
        with suppress(asyncio.CancelledError):
            await showing
    return _FORCED if forced else 0


def _write_log(data: Path, is_terminal: bool) -> None:
    """What the supervisor reports goes where the live table does not."""
    from clarion.client.embedded import log_files
    from clarion.runtime import logs

    if is_terminal:
        log = data / "logs" / "supervisor.log"
        log_files.rotate(log)
        logs.setup("up", stream=log.open("a", encoding="utf-8"))
    else:
        logs.setup("up")


async def _until_ready(stack: Stack, timeout: float, stopping: asyncio.Event) -> bool:
    """True when ready; False when it is to stop before. Raises StartError."""
    ready = asyncio.create_task(stack.wait_ready(timeout), name="ready")
    stop = asyncio.create_task(stopping.wait(), name="stop")
    await asyncio.wait({ready, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if ready.done():
        await ready
        return True
    ready.cancel()
    return False


async def _show(stack: Stack, is_terminal: bool) -> None:
    if not is_terminal:
        return
    from rich.live import Live

    from clarion.client.cli.table import render

    with Live(auto_refresh=False) as live:
        try:
            while True:
                live.update(render(stack.state), refresh=True)
                await asyncio.sleep(0.25)
        finally:
            live.update(render(stack.state), refresh=True)


def _run_detached(data: Path, timeout: float) -> None:
    from clarion.client.embedded import log_files
    from clarion.client.embedded.errors import StartError
    from clarion.client.embedded.state import StateFile

    file = StateFile(data.absolute())
    with file.lock:
        pass  # AlreadyRunningError, before a process is started for nothing
    log = data.absolute() / "logs" / "supervisor.log"
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    log_files.rotate(log)
    with log.open("ab") as output:
        supervisor = subprocess.Popen(
            # The same command without --detach; given twice, the last one holds.
            [sys.executable, "-m", "clarion.client", *sys.argv[1:], "--no-detach"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    started = time.monotonic()
    while supervisor.poll() is None:
        state = file.read()
        if state.pid == supervisor.pid and state.ready:
            seconds = time.monotonic() - started
            click.echo(f"ready in {seconds:.1f} s")
            for name in ("rest", "grpc", "sandbox"):
                if name in state.urls:
                    click.echo(f"  {name:8} {state.urls[name]}")
            return
        time.sleep(0.05)
    raise StartError(f"It did not start:\n{log_files.tail(log, 40)}")
