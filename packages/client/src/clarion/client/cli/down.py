"""``clarion down``: stop the stack."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clarion.client.cli.options import data_option, plain_errors

if TYPE_CHECKING:
    from clarion.client.embedded.state import StateFile


@click.command(name="down")
@data_option
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=40,
    show_default=True,
    help="Seconds until it is killed.",
)
def command(data: Path, timeout: float) -> None:
    """Stop the stack: services finish what they do, then the servers stop.

    The data stays. To begin anew, remove the folder.

    \b
    Examples:
      clarion down
      clarion down --timeout 0              at once
    """
    with plain_errors():
        from clarion.client.embedded.state import StateFile

        _stop(StateFile(data.absolute()), timeout)


def _stop(file: StateFile, timeout: float) -> None:
    state = file.read_running()
    if state is None or state.pid is None:
        click.echo("Nothing runs.")
        return
    os.kill(state.pid, signal.SIGTERM)
    if _ends(file, timeout):
        click.echo("stopped")
        return
    os.kill(state.pid, signal.SIGTERM)  # the second one is immediate
    if not _ends(file, 10):
        os.kill(state.pid, signal.SIGKILL)  # its children end with it
    click.echo("killed")


def _ends(file: StateFile, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while file.lock.is_held():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
