"""``clarion logs``: what the processes say."""

from __future__ import annotations

import time
from pathlib import Path

import click

from clarion.client.cli.options import data_option, plain_errors

_POLL_SECONDS = 0.2


@click.command(name="logs")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@data_option
@click.option("--follow", "-f", is_flag=True, help="Go on with what is added.")
@click.option(
    "--lines",
    "-n",
    type=click.IntRange(min=0),
    default=40,
    show_default=True,
    help="How many of the last lines of each.",
)
def command(names: tuple[str, ...], data: Path, follow: bool, lines: int) -> None:
    """Show the logs of the processes; of all when none is named.

    \b
    Examples:
      clarion logs                          the last lines of every process
      clarion logs router push --follow
      clarion logs postgres -n 200
    """
    with plain_errors():
        _show(data / "logs", names, follow, lines)


def _show(folder: Path, names: tuple[str, ...], follow: bool, lines: int) -> None:
    from clarion.client.embedded import log_files

    there = {log.stem: log for log in sorted(folder.glob("*.log"))}
    unknown = [name for name in names if name not in there]
    if unknown:
        known = ", ".join(there) or "none"
        raise click.ClickException(
            f"No log of {', '.join(unknown)}. There are: {known}"
        )
    chosen = {name: there[name] for name in names or there}
    width = 0 if len(chosen) == 1 else max(map(len, chosen), default=0)
    positions: dict[str, int] = {}
    for name, log in chosen.items():
        positions[name] = log.stat().st_size
        _print(name, log_files.tail(log, lines), width)
    while follow:
        for name, log in chosen.items():
            positions[name] = _print_from(name, log, positions[name], width)
        time.sleep(_POLL_SECONDS)


def _print_from(name: str, log: Path, position: int, width: int) -> int:
    """Prints the complete lines that were added; where the next read begins."""
    try:
        with log.open("rb") as stream:
            if stream.seek(0, 2) < position:  # cut or begun anew
                position = 0
            stream.seek(position)
            added = stream.read()
    except FileNotFoundError:
        return 0
    complete = added[: added.rfind(b"\n") + 1]
    _print(name, complete.decode(errors="replace"), width)
    return position + len(complete)


def _print(name: str, text: str, width: int) -> None:
    prefix = f"{name:{width}} | " if width else ""
    for line in text.splitlines():
        click.echo(prefix + line)
