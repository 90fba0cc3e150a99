"""``clarion list``: notifications and how they stand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clarion.client.cli.connection import connection_options, run_with_client
from clarion.client.cli.options import data_option

if TYPE_CHECKING:
    from clarion.api.tracking.v1.tracking_service_pb2 import NotificationRecord
    from clarion.client.client import Client


@click.command(name="list")
@click.option("--broadcast", default="", metavar="ID", help="Only its subscribers'.")
@click.option("--to", default="", metavar="USER_ID", help="Only this person's.")
@click.option("--status", default="", help="Only those that stand so, such as failed.")
@click.option("--type", default="", help="Only those of this type.")
@click.option(
    "--limit",
    "-n",
    type=click.IntRange(min=0),
    default=50,
    show_default=True,
    help="How many at most; 0: all of them.",
)
@click.option("--json", "as_json", is_flag=True, help="Each as JSON, in one line.")
@connection_options
@data_option
def command(
    broadcast: str,
    to: str,
    status: str,
    type: str,
    limit: int,
    as_json: bool,
    target: str | None,
    key_file: Path | None,
    data: Path,
) -> None:
    """List notifications, the newest first, a line for each.

    \b
    Examples:
      clarion list --to ada
      clarion list --broadcast 0192f3a4-7c1e-7d6f-8a9b-3c4d5e6f7a8b --status failed
      clarion list --type newsletter --limit 0 --json
    """

    async def show_all(client: Client) -> None:
        found = client.notifications(
            broadcast_id=broadcast, user_id=to, status=status, type=type
        )
        shown = 0
        async for record in found:
            click.echo(_as_json(record) if as_json else _in_words(record))
            shown += 1
            if shown == limit:
                break

    run_with_client(target, key_file, data, show_all)


def _as_json(record: NotificationRecord) -> str:
    from google.protobuf.json_format import MessageToJson

    return MessageToJson(record, preserving_proto_field_name=True, indent=None)


def _in_words(record: NotificationRecord) -> str:
    told = f"{record.notification_id}  {record.status:10} {record.type}"
    if record.user_id:
        told += f" for {record.user_id}"
    channels = ", ".join(
        f"{one.channel} {one.status}" + (f" ({one.reason})" if one.reason else "")
        for one in record.deliveries
    )
    return f"{told}: {channels}" if channels else told
