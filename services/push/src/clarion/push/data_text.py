"""The ``data`` of a message as JSON text, in which numbers keep their kind.

A Struct has one kind of number, the double: 20 is written as 20 and not as 20.0.
Written straight into text, as a dict between the two would be thrown away at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from json.encoder import encode_basestring

from google.protobuf.struct_pb2 import ListValue, Struct, Value

# Beyond it a double does not hold every whole number.
_EXACT = 2.0**53

quote = encode_basestring
"""A text as a JSON string; letters that are not ASCII stay as they are."""


def number_text(number: float) -> str:
    """A number as JSON: 20 for 20.0, 99.99 for 99.99, null for what is none."""
    if number.is_integer() and -_EXACT < number < _EXACT:
        return str(int(number))
    return repr(number) if math.isfinite(number) else "null"


def object_text(data: Struct) -> str:
    """The struct as a JSON object."""
    return "{" + ",".join(_members(data)) + "}"


def plain_texts(data: Struct) -> Iterator[tuple[str, str]]:
    """Every member with its value as a text, for providers that take nothing else.

    A string is itself; anything else is the JSON of it: 20, 99.99, true, null, {...}.
    """
    for key, value in data.fields.items():
        if value.HasField("string_value"):
            yield key, value.string_value
        else:
            yield key, _value_text(value)


def _members(data: Struct) -> Iterator[str]:
    for key, value in data.fields.items():
        yield quote(key) + ":" + _value_text(value)


def _value_text(value: Value) -> str:
    match value.WhichOneof("kind"):
        case "string_value":
            return quote(value.string_value)
        case "number_value":
            return number_text(value.number_value)
        case "bool_value":
            return "true" if value.bool_value else "false"
        case "struct_value":
            return object_text(value.struct_value)
        case "list_value":
            return _list_text(value.list_value)
        case _:
            return "null"


def _list_text(values: ListValue) -> str:
    return "[" + ",".join(map(_value_text, values.values)) + "]"
