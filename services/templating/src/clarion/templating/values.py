"""A ``google.protobuf.Struct`` as values for templates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from google.protobuf.struct_pb2 import Struct, Value

_EXACT = 2.0**53
"""From here on doubles are more than one apart, so an integer would pretend."""

M = TypeVar("M", bound=Mapping[str, Any])


PRINTED: list[str] = []
"""Methods that a template printed where it meant a value: filled while it renders and
emptied by who renders. See ``_Method``."""


class _Method:
    """A method of a mapping, for templates: it can be called, and not be printed.

    ``{{ data.items }}`` without such a key must be a missing variable. The engine
    swallows what is raised here, so that it was printed is noted instead.
    """

    __slots__ = ("_call", "_name")

    def __init__(self, name: str, call: Callable[..., Any]) -> None:
        self._name = name
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __str__(self) -> str:
        PRINTED.append(self._name)
        return ""


def _callable(name: str) -> Any:
    method = getattr(dict, name)
    return property(lambda self: _Method(name, lambda *given: method(self, *given)))


def _hidden(name: str) -> Any:
    def get(self: object) -> Any:
        raise AttributeError(name)

    return property(get)


class Values(dict[str, Any]):
    """A mapping that a template can read and not change.

    The engine offers templates every attribute of a Python object, so a plain
    dictionary could be cleared by one channel's template before the next one's turn.
    """

    __slots__ = ()

    get = _callable("get")
    items = _callable("items")
    keys = _callable("keys")
    values = _callable("values")
    clear = _hidden("clear")
    copy = _hidden("copy")
    fromkeys = _hidden("fromkeys")
    pop = _hidden("pop")
    popitem = _hidden("popitem")
    setdefault = _hidden("setdefault")
    update = _hidden("update")


def for_templates(struct: Struct) -> Values:
    """The Struct as read-only values; numbers keep their kind (see ``number``)."""
    return _mapping(struct, Values, tuple)


def for_schemas(struct: Struct) -> dict[str, Any]:
    """The Struct as plain JSON values, the same numbers as in templates."""
    return _mapping(struct, dict, list)


class Given:
    """What one notification gives to its templates, converted at most once."""

    __slots__ = ("_converted", "_structs", "message", "title")

    def __init__(
        self, title: str, message: str, data: Struct, recipient: Struct
    ) -> None:
        self.title = title
        self.message = message
        self._structs = {"data": data, "recipient": recipient}
        self._converted: dict[str, Values] = {}

    def variables(self, locale: str, uses: Iterable[str]) -> dict[str, Any]:
        """The variables; of ``data`` and ``recipient`` only those that are used."""
        for name in uses:
            if name not in self._converted:
                self._converted[name] = for_templates(self._structs[name])
        return {
            "title": self.title,
            "message": self.message,
            "locale": locale,
            **self._converted,
        }


def number(value: float) -> float | int:
    """Struct has only doubles: an integral one below 2^53 was an integer to callers.

    So 20 renders as 20, 99.99 as 99.99 and -0 as 0; larger ones stay doubles.
    """
    if value.is_integer() and -_EXACT < value < _EXACT:
        return int(value)
    return value


def _mapping(
    struct: Struct, mapping: Callable[[Any], M], sequence: Callable[[Any], Any]
) -> M:
    return mapping(
        {
            name: _value(value, mapping, sequence)
            for name, value in struct.fields.items()
        }
    )


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
        return _mapping(value.struct_value, mapping, sequence)
    if kind == "list_value":
        return sequence(
            _value(item, mapping, sequence) for item in value.list_value.values
        )
    return None
