"""A ``google.protobuf.Struct`` as Python values; numbers keep their kind. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from google.protobuf.struct_pb2 import Struct, Value

_EXACT = 2.0**53
"""From here on doubles are more than one apart, so an integer would pretend."""

M = TypeVar("M", bound=Mapping[str, Any])


def number(value: float) -> float | int:
    """Struct has only doubles: an integral one below 2^53 was an integer to callers.

    So 20 is shown as 20, 99.99 as 99.99 and -0 as 0; larger ones stay doubles.
    """
    if value.is_integer() and -_EXACT < value < _EXACT:
        return int(value)
    return value


def python_values(
    struct: Struct, mapping: Callable[[Any], M], sequence: Callable[[Any], Any]
) -> M:
    """The Struct made of ``mapping`` (such as dict) and ``sequence`` (such as list)."""
    # Not items(): of a map of protobuf that is a generator in Python.
    fields = struct.fields
    return mapping({name: _value(fields[name], mapping, sequence) for name in fields})


def plain_values(struct: Struct) -> dict[str, Any]:
    """``python_values`` of dicts and tuples, in less time."""
    fields = struct.fields
    values: dict[str, Any] = {}
    for name in fields:
        value = fields[name]
        # Most values are texts or numbers; only what is empty needs to be asked its
        # kind. That is not left to ``_plain``: the call would take as long as the rest.
        text = value.string_value
        if text:
            values[name] = text
            continue
        given = value.number_value
        if given:
            whole = int(given) if -_EXACT < given < _EXACT else given
            values[name] = whole if whole == given else given
        else:
            values[name] = _plain(value)
    return values


def _plain(value: Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return plain_values(value.struct_value)
    if kind == "list_value":
        items = value.list_value.values
        return tuple([_plain(item) for item in items])
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        return number(value.number_value)
    if kind == "bool_value":
        return value.bool_value
    return None


def _value(
    value: Value, mapping: Callable[[Any], Any], sequence: Callable[[Any], Any]
) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        return number(value.number_value)
    if kind == "bool_value":
        return value.bool_value
    if kind == "struct_value":
        return python_values(value.struct_value, mapping, sequence)
    if kind == "list_value":
        return sequence(
            _value(item, mapping, sequence) for item in value.list_value.values
        )
    return None
