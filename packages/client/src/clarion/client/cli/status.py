"""``clarion status``: what runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from clarion.client.cli.options import data_option, plain_errors

_NOT_READY = 1
_NOT_RUNNING = 3


@click.command(name="status")
@data_option
@click.option(
    "--json", "as_json", is_flag=True, help="Print the content of stack.json."
)
def command(data: Path, as_json: bool) -> None:
    """Show what runs.

    Exit status: 0 all is ready, 1 something is not, 3 nothing runs.

    \b
    Examples:
      clarion status
      clarion status --json | jq -r .urls.rest
    """
    with plain_errors():
        from clarion.client.embedded.state import StateFile

        state = StateFile(data.absolute()).read_running()
        if as_json:
            content = {"pid": None} if state is None else state.as_json()
            click.echo(json.dumps(content, indent=2))
        elif state is None:
            click.echo(f"Nothing runs on {data}. Start it with `clarion up`.")
        else:
            from rich.console import Console

            from clarion.client.cli.table import render

            Console().print(render(state))
        if state is None:
            sys.exit(_NOT_RUNNING)
        ready = all(one.state == "ready" for one in state.processes.values())
        sys.exit(0 if ready else _NOT_READY)
