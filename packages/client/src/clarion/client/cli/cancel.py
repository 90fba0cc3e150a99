"""``clarion cancel``: stop what has not been sent yet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clarion.client.cli.connection import connection_options, run_with_client
from clarion.client.cli.options import data_option

if TYPE_CHECKING:
    from clarion.client.client import Client


@click.command(name="cancel")
@click.argument("notification_id", default="")
@click.option("--key", default="", help="The idempotency key, in place of the id.")
@connection_options
@data_option
def command(
    notification_id: str,
    key: str,
    target: str | None,
    key_file: Path | None,
    data: Path,
) -> None:
    """Stop a notification, as far as it has not been sent yet.

    \b
    Examples:
      clarion cancel 0192f3a4-7c1e-7d6f-8a9b-3c4d5e6f7a8b
      clarion cancel --key order-7-shipped
    """

    async def cancel(client: Client) -> None:
        answer = await client.cancel(notification_id, idempotency_key=key)
        click.echo(f"{answer.notification_id} {answer.status}")

    run_with_client(target, key_file, data, cancel)
