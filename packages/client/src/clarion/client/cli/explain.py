"""``clarion explain``: why a notification was sent or not, or what would happen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clarion.client.cli.connection import connection_options, run_with_client
from clarion.client.cli.options import data_option
from clarion.client.cli.values import field_option, named_values, set_fields

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from rich.console import RenderableType

    from clarion.client.client import Client


@click.command(name="explain")
@click.argument("notification_id", required=False)
@click.option("--to", "user_id", default="", help="Dry run: the person.")
@click.option("--type", "-T", "type_", default="", help="Dry run: the type.")
@click.option("--title", "-t", default="", help="The headline.")
@click.option("--message", "-m", default="", help="The text.")
@click.option("--channel", "-c", "channels", multiple=True, help="May be repeated.")
@click.option("--category", default="", help="The category, if it is not the type's.")
@click.option("--priority", type=click.Choice(["low", "medium", "high"]), default=None)
@click.option(
    "--value",
    "-v",
    "values",
    multiple=True,
    metavar="NAME=VALUE",
    help="A value for the template; may be repeated.",
)
@click.option("--template", default="", help="The template's id.")
@click.option("--locale", default="", help="The language, such as de.")
@click.option(
    "--strategy",
    type=click.Choice(["all", "first_available", "escalate"]),
    help="How the channels are used; else as the type says.",
)
@field_option
@click.option("--json", "as_json", is_flag=True, help="For machines: one JSON object.")
@connection_options
@data_option
def command(
    notification_id: str | None,
    user_id: str,
    type_: str,
    title: str,
    message: str,
    channels: tuple[str, ...],
    category: str,
    priority: str | None,
    values: tuple[str, ...],
    template: str,
    locale: str,
    strategy: str | None,
    fields: tuple[str, ...],
    as_json: bool,
    target: str | None,
    key_file: Path | None,
    data: Path,
) -> None:
    """Show why a notification was or was not sent, rule by rule.

    With an id: what was decided each time, what each rule saw, and what became of the
    deliveries. With --to and --type: what would happen to such a notification now, and
    what it would say; nothing is sent or counted.

    \b
    Examples:
      clarion explain 0197c5a8-6b1e-7c3d-9f2a-1b2c3d4e5f60
      clarion explain --to user123 --type order_confirmation -t "Order Confirmed"
      clarion explain --to user123 --type invoice -v total=9.99 --json
      clarion explain --to user123 --type alarm -t Fire -f collapse_key=fire-7
    """
    from clarion.client.building import notification
    from clarion.client.cli import explanation_tree

    if bool(notification_id) == bool(user_id or type_):
        raise click.UsageError("give either an id, or --to and --type for a dry run")

    async def explain(client: Client) -> None:
        if notification_id:
            told = await client.explain(notification_id)
            _show(told, explanation_tree.of_sent(told), as_json)
            return
        one = notification(
            user_id,
            type_,
            title=title,
            message=message,
            channels=channels,
            priority=priority or "",
            data=named_values(values) or None,
            category=category,
            template_id=template,
            locale=locale,
            strategy=strategy or "",
        )
        try:
            set_fields(one, fields)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        decided = await client.dry_run(one)
        _show(decided, explanation_tree.of_dry_run(one, decided), as_json)

    run_with_client(target, key_file, data, explain)


def _show(answer: Message, tree: RenderableType, as_json: bool) -> None:
    from google.protobuf.json_format import MessageToDict
    from rich.console import Console

    if as_json:
        fields = MessageToDict(answer, preserving_proto_field_name=True)
        click.echo(json.dumps(fields))
        return
    Console().print(tree)
