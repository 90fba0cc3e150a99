"""``clarion watch``: a person's inbox as it changes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clarion.client.cli.connection import connection_options, run_with_client
from clarion.client.cli.options import data_option

if TYPE_CHECKING:
    from clarion.client.client import Client


@click.command(name="watch")
@click.argument("user_id")
@click.option(
    "--after",
    type=int,
    metavar="VERSION",
    help="Begin after this version of the inbox.",
)
@connection_options
@data_option
def command(
    user_id: str,
    after: int | None,
    target: str | None,
    key_file: Path | None,
    data: Path,
) -> None:
    """Watch a person's inbox; every change is a line. Ctrl-C ends it.

    \b
    Examples:
      clarion watch user123
      clarion watch user123 --after 0        everything from the beginning
    """

    async def watch(client: Client) -> None:
        async for change in client.watch_inbox(user_id, after_version=after):
            item = change.item
            state = (
                "archived"
                if item.HasField("archived_time")
                else "read"
                if item.HasField("read_time")
                else "new"
            )
            click.echo(
                f"{item.version:>6}  {state:8} {item.title}: {item.body}  "
                f"({change.counts.unread} unread)"
            )

    run_with_client(target, key_file, data, watch)
