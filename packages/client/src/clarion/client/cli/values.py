"""NAME=VALUE on the command line: values for templates, and fields."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from clarion.api.router.v1.notification_pb2 import Notification

F = TypeVar("F", bound=Callable[..., Any])


def field_option(function: F) -> F:
    """``--field``: whatever has no option of its own."""
    return click.option(
        "--field",
        "-f",
        "fields",
        multiple=True,
        metavar="NAME=VALUE",
        help="Any other field, such as collapse_key=order-7; may be repeated.",
    )(function)


def set_fields(notification: Notification, pairs: Iterable[str]) -> None:
    """Sets fields as the JSON of the API has them. Raises ValueError."""
    from google.protobuf.json_format import ParseDict, ParseError

    found = (pair.partition("=") for pair in pairs)
    try:
        # Numbers too may be given as texts; a list or an object is none.
        ParseDict(
            {
                name: _value(text) if text.startswith(("[", "{")) else text
                for name, _, text in found
            },
            notification,
        )
    except ParseError as error:
        raise ValueError(f"--field: {error}") from error


def named_values(pairs: Iterable[str]) -> dict[str, Any]:
    """The values by name, for a template."""
    found = (pair.partition("=") for pair in pairs)
    return {name: _value(text) for name, _, text in found}


def texts(pairs: Iterable[str]) -> list[tuple[str, str]]:
    """Names with their texts. Raises ValueError for what is no NAME=VALUE."""
    found = []
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not (name and equals):
            raise ValueError(f"{pair}: give NAME=VALUE")
        found.append((name, text))
    return found


def nested_values(pairs: Iterable[str], into: dict[str, Any]) -> dict[str, Any]:
    """The values added to an object; ``a.b=1`` stands inside of ``a``.

    Raises ValueError as ``texts``, and for what is inside of what is no object.
    """
    for name, text in texts(pairs):
        *parents, last = name.split(".")
        place = into
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ValueError(f"{name}: {parent} is no object")
        place[last] = _value(text)
    return into


def _value(text: str) -> Any:
    # 20 is a number and true a truth; whatever is no JSON is the text itself.
    try:
        return json.loads(text)
    except ValueError:
        return text
