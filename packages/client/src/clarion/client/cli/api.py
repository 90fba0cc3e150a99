"""``clarion api``: any call of the REST API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO

import click

from clarion.client.cli.connection import connection_options, found_mesh, plain_refusals
from clarion.client.cli.options import data_option
from clarion.client.cli.values import nested_values, texts


@click.command(name="api")
@click.argument(
    "method",
    type=click.Choice(["GET", "POST", "PUT", "PATCH", "DELETE"], case_sensitive=False),
)
@click.argument("path")
@click.option(
    "--field",
    "-f",
    "fields",
    multiple=True,
    metavar="NAME=VALUE",
    help="A field of the body, quiet_hours.start=22:00 one inside of another; of a GET "
    "and a DELETE in the query. May be repeated.",
)
@click.option(
    "--input",
    "-i",
    "body",
    type=click.File(encoding="utf-8"),
    help="A file with the body as JSON, - for standard input; fields are added to it.",
)
@click.option("--json", "as_json", is_flag=True, help="For machines: on one line.")
@connection_options
@data_option
def command(
    method: str,
    path: str,
    fields: tuple[str, ...],
    body: TextIO | None,
    as_json: bool,
    target: str | None,
    key_file: Path | None,
    data: Path,
) -> None:
    """Make any call of the REST API: types, schedules, preferences, consents, limits.

    PATH may leave out /api/v1/. What can be called stands in docs/deciding.md and in
    the contracts (google.api.http).

    \b
    Examples:
      clarion api GET users/ada/preferences
      clarion api PUT types/comment -f category=social -f 'channels=["push","email"]'
      clarion api POST users/ada/consents -f granted=true -f source=signup
      clarion api PUT schedules/digest -i schedule.json
      clarion api GET notifications -f user_id=ada -f page_size=5
    """
    from clarion.client.rest import call_rest

    method = method.upper()
    has_body = method in ("POST", "PUT", "PATCH")
    if body is not None and not has_body:
        raise click.UsageError(f"{method} takes no body: give -f NAME=VALUE")
    try:
        given = nested_values(fields, _object(body)) if has_body else None
        query = () if has_body else texts(fields)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    mesh = found_mesh(target, key_file, data)
    where = path if path.startswith("/") else f"/api/v1/{path}"
    with plain_refusals():
        answer = call_rest(*mesh, method, where, body=given, query=query)
    click.echo(json.dumps(answer, indent=None if as_json else 2, ensure_ascii=False))


def _object(body: TextIO | None) -> dict[str, Any]:
    """Raises ValueError for what is none."""
    if body is None:
        return {}
    try:
        given = json.load(body)
    except ValueError as error:
        raise ValueError(f"--input is no JSON: {error}") from error
    if not isinstance(given, dict):
        raise ValueError("--input is no JSON object")
    return given
