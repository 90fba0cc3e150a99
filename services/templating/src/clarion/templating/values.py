"""A ``google.protobuf.Struct`` as values for templates."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from google.protobuf.struct_pb2 import Struct

from clarion.runtime.struct_values import plain_values, python_values

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
    """The Struct as read-only values; numbers keep their kind."""
    return python_values(struct, Values, tuple)


def for_schemas(struct: Struct) -> dict[str, Any]:
    """The Struct as plain JSON values, the same numbers as in templates."""
    return python_values(struct, dict, list)


class Given:
    """What one notification gives to its templates, converted at most once."""

    __slots__ = ("_plain", "_read_only", "_structs", "message", "title")

    def __init__(
        self, title: str, message: str, data: Struct, recipient: Struct
    ) -> None:
        self.title = title
        self.message = message
        self._structs = {"data": data, "recipient": recipient}
        self._plain: dict[str, Any] = {"title": title, "message": message}
        self._read_only: dict[str, Any] | None = None

    def variables(self, locale: str, uses: Iterable[str]) -> dict[str, Any]:
        """The variables; of ``data`` and ``recipient`` at least those that are used.

        The next call changes the answer of this one.
        """
        variables = self._read_only
        if variables is None:
            variables = {"title": self.title, "message": self.message}
            self._read_only = variables
        for name in uses:
            if name not in variables:
                variables[name] = for_templates(self._structs[name])
        variables["locale"] = locale
        return variables

    def plain_variables(self, locale: str, uses: Iterable[str]) -> dict[str, Any]:
        """The same as plain dicts: for sources that are ``is_plain``."""
        variables = self._plain
        for name in uses:
            if name not in variables:
                variables[name] = plain_values(self._structs[name])
        variables["locale"] = locale
        return variables
