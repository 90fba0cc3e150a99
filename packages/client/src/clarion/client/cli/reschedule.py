"""``clarion reschedule``: another time for what is still scheduled."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clarion.client.cli.connection import connection_options, run_with_client
from clarion.client.cli.options import data_option

if TYPE_CHECKING:
    from clarion.client.client import Client


@click.command(name="reschedule")
@click.argument("notification_id", default="")
@click.option(
    "--at", required=True, help="When to send, such as 2030-01-31T10:30:00Z; past: now."
)
@click.option("--key", default="", help="The idempotency key, in place of the id.")
@connection_options
@data_option
def command(
    notification_id: str,
    at: str,
    key: str,
    target: str | None,
    key_file: Path | None,
    data: Path,
) -> None:
    """Give a notification that is still scheduled another time.

    \b
    Examples:
      clarion reschedule 0192f3a4-7c1e-7d6f-8a9b-3c4d5e6f7a8b --at 2030-01-31T10:30:00Z
      clarion reschedule --key order-7-reminder --at 2030-01-31T10:30:00+01:00
    """
    try:
        time = datetime.fromisoformat(at)
    except ValueError as wrong:
        raise click.BadParameter(str(wrong), param_hint="--at") from wrong
    if time.tzinfo is None:
        raise click.BadParameter("needs an offset, such as Z", param_hint="--at")

    async def reschedule(client: Client) -> None:
        answer = await client.reschedule(time, notification_id, idempotency_key=key)
        click.echo(f"{answer.notification_id} {answer.status}")

    run_with_client(target, key_file, data, reschedule)
