"""``clarion send``: one notification."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clarion.client.cli.connection import connection_options, run_with_client
from clarion.client.cli.options import data_option
from clarion.client.cli.values import field_option, named_values, set_fields

if TYPE_CHECKING:
    from clarion.client.client import Client


@click.command(name="send")
@click.argument("user_id")
@click.argument("type")
@click.option("--title", "-t", default="", help="The headline.")
@click.option("--message", "-m", default="", help="The text.")
@click.option("--channel", "-c", "channels", multiple=True, help="May be repeated.")
@click.option(
    "--priority",
    type=click.Choice(["low", "medium", "high"]),
    help="The lane; else as the type says.",
)
@click.option(
    "--value",
    "-v",
    "values",
    multiple=True,
    metavar="NAME=VALUE",
    help="A value for the template; may be repeated.",
)
@click.option("--template", default="", help="The template's id.")
@click.option(
    "--strategy",
    type=click.Choice(["all", "first_available", "escalate"]),
    help="How the channels are used; else as the type says.",
)
@click.option("--at", help="When to send, such as 2030-01-31T10:30:00Z.")
@click.option("--key", default="", help="Idempotency key.")
@field_option
@connection_options
@data_option
def command(
    user_id: str,
    type: str,
    title: str,
    message: str,
    channels: tuple[str, ...],
    priority: str | None,
    values: tuple[str, ...],
    template: str,
    strategy: str | None,
    at: str | None,
    key: str,
    fields: tuple[str, ...],
    target: str | None,
    key_file: Path | None,
    data: Path,
) -> None:
    """Send one notification to one person.

    Prints the notification's id and its status.

    \b
    Examples:
      clarion send user123 order_confirmation -t "Order Confirmed" -c push -c email
      clarion send user123 invoice -m "It is due" -v amount=99.99 --priority high
      clarion send user123 alarm -t "Fire" -c push -c sms --strategy first_available
      clarion send user123 reminder -t "Tomorrow" --at 2030-01-31T10:30:00Z
      clarion send user123 news -t "Weekly" -f collapse_key=news
    """
    from clarion.client.building import notification

    try:
        one = notification(
            user_id,
            type,
            title=title,
            message=message,
            channels=channels,
            priority=priority or "",
            data=named_values(values) or None,
            scheduled_at=datetime.fromisoformat(at) if at else None,
            template_id=template,
            strategy=strategy or "",
            idempotency_key=key,
        )
        set_fields(one, fields)
    except ValueError as error:
        raise click.UsageError(str(error)) from error

    async def send(client: Client) -> None:
        accepted = await client.send(one)
        click.echo(f"{accepted.notification_id} {accepted.status}")

    run_with_client(target, key_file, data, send)
