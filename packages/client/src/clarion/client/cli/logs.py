"""``clarion logs``: what the processes say."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import click

from clarion.client.cli.options import data_option, plain_errors
from clarion.client.embedded.hosts import HOSTS

_POLL_SECONDS = 0.2
_MOST_LINES = 10_000
"""Looked through for those of a service that shares its process."""


@dataclass(frozen=True, slots=True)
class Source:
    """A log file, or what one service of several has written into it."""

    log: Path
    service: str = ""

    def own(self, text: str) -> list[str]:
        """Its lines."""
        mark = f'"service": "{self.service}"'
        return [one for one in text.splitlines() if not self.service or mark in one]


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
    """Show the logs of processes and services; of all processes when none is named.

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

    there = {log.stem: Source(log) for log in sorted(folder.glob("*.log"))}
    for host, services in HOSTS.items():
        if host in there:
            log = there[host].log
            there |= {one: Source(log, one) for one in services if one not in there}
    unknown = [name for name in names if name not in there]
    if unknown:
        known = ", ".join(there) or "none"
        raise click.ClickException(
            f"No log of {', '.join(unknown)}. There are: {known}"
        )
    every = (name for name, source in there.items() if not source.service)
    chosen = {name: there[name] for name in names or every}
    width = 0 if len(chosen) == 1 else max(map(len, chosen), default=0)
    positions: dict[str, int] = {}
    for name, source in chosen.items():
        positions[name] = source.log.stat().st_size
        last = log_files.tail(source.log, _MOST_LINES if source.service else lines)
        _print(name, source.own(last)[-lines:] if lines else [], width)
    while follow:
        for name, source in chosen.items():
            positions[name] = _print_from(name, source, positions[name], width)
        time.sleep(_POLL_SECONDS)


def _print_from(name: str, source: Source, position: int, width: int) -> int:
    """Prints the complete lines that were added; where the next read begins."""
    try:
        with source.log.open("rb") as stream:
            if stream.seek(0, 2) < position:  # cut or begun anew
                position = 0
            stream.seek(position)
            added = stream.read()
    except FileNotFoundError:
        return 0
    complete = added[: added.rfind(b"\n") + 1]
    _print(name, source.own(complete.decode(errors="replace")), width)
    return position + len(complete)


def _print(name: str, lines: list[str], width: int) -> None:
    prefix = f"{name:{width}} | " if width else ""
    for line in lines:
        click.echo(prefix + line)
