"""``clarion get``: what happened to a notification."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clarion.client.cli.connection import connection_options, run_with_client
from clarion.client.cli.options import data_option

if TYPE_CHECKING:
    from clarion.api.tracking.v1.tracking_service_pb2 import NotificationRecord
    from clarion.client.client import Client


@click.command(name="get")
@click.argument("notification_id")
@click.option("--json", "as_json", is_flag=True, help="The whole answer as JSON.")
@connection_options
@data_option
def command(
    notification_id: str,
    as_json: bool,
    target: str | None,
    key_file: Path | None,
    data: Path,
) -> None:
    """Show a notification's state, its deliveries and its timeline.

    \b
    Examples:
      clarion get 0192f3a4-7c1e-7d6f-8a9b-3c4d5e6f7a8b
      clarion get 0192f3a4-7c1e-7d6f-8a9b-3c4d5e6f7a8b --json
    """

    async def get(client: Client) -> None:
        record = await client.get(notification_id)
        if as_json:
            from google.protobuf.json_format import MessageToJson

            click.echo(MessageToJson(record, preserving_proto_field_name=True))
        else:
            _show(record)

    run_with_client(target, key_file, data, get)


def _show(record: NotificationRecord) -> None:
    click.echo(f"{record.notification_id}  {record.status}")
    if record.HasField("broadcast"):
        told = record.broadcast
        far = "" if told.is_complete else " so far"
        click.echo(f"{record.type} for topic {told.topic}")
        click.echo(f"  subscribers: {told.subscribers}{far}")
        for status, number in sorted(told.statuses.items()):
            click.echo(f"    {status}: {number}")
    else:
        click.echo(f"{record.type} for {record.user_id}, priority {record.priority}")
    for delivery in record.deliveries:
        why = f" ({delivery.reason})" if delivery.reason else ""
        click.echo(f"  {delivery.channel:8} {delivery.status}{why}")
    for entry in record.timeline:
        time = entry.time.ToDatetime().isoformat(timespec="milliseconds")
        click.echo(f"  {time}Z  {entry.event} {entry.channel} {entry.reason}".rstrip())
