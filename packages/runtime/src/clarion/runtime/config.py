"""Settings: environment variables read once into a frozen dataclass.

A field ``poll`` is read from ``CLARION_POLL``. A ``timedelta`` is given in seconds and
its variable says so (``CLARION_POLL_SECONDS``); a ``Secret`` is read from the file that
``CLARION_POLL_FILE`` names. Everything wrong is reported at once, with the remedy.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin

from clarion.runtime.errors import ConfigError

PREFIX = "CLARION_"
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})

S = TypeVar("S")


class Secret:
    """A value that is never printed: not by repr, str, logs or a settings dump."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value; the one place where it leaves."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def variable(name: str, kind: Any) -> str:
    """The environment variable of a field of that name and type."""
    bare = _without_none(kind)
    suffix = {timedelta: "_SECONDS", Secret: "_FILE"}.get(bare, "")
    upper = name.upper()
    return PREFIX + (upper if upper.endswith(suffix) else upper + suffix)


def variables(cls: type[Any]) -> dict[str, str]:
    """Field name -> environment variable, for documentation and drift tests."""
    kinds = typing.get_type_hints(cls)
    return {f.name: variable(f.name, kinds[f.name]) for f in dataclasses.fields(cls)}


def load(cls: type[S], environ: Mapping[str, str]) -> S:
    """The settings class filled from the environment.

    Raises ConfigError with one line for every problem, never only the first. An empty
    variable counts as unset, as container platforms set optional ones to "".
    """
    (loaded,) = load_all([cls], environ)
    return cast(S, loaded)


def load_all(classes: Iterable[type[Any]], environ: Mapping[str, str]) -> list[Any]:
    """Several settings classes at once; ConfigError lists the problems of all."""
    loaded: list[Any] = []
    problems: list[str] = []
    for cls in classes:
        kinds = typing.get_type_hints(cls)
        values: dict[str, Any] = {}
        before = len(problems)
        for field in dataclasses.fields(cls):
            if not field.init:
                continue
            kind = kinds[field.name]
            name = variable(field.name, kind)
            raw = environ.get(name, "").strip()
            if not raw:
                if _is_required(field):
                    problems.append(f"{name} is not set: {_remedy(kind)}")
                continue
            try:
                values[field.name] = _parse(_without_none(kind), raw)
            except (ValueError, OSError) as wrong:
                problems.append(f"{name} {wrong}")
        if len(problems) == before:
            try:
                loaded.append(cls(**values))
            except ValueError as wrong:  # raised by the class's own __post_init__
                problems.append(str(wrong))
    if problems:
        # Two classes may read the same variable; its problem is one problem.
        raise ConfigError(list(dict.fromkeys(problems)))
    return loaded


def _is_required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _without_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        kinds = [k for k in get_args(kind) if k is not types.NoneType]
        if len(kinds) == 1:
            return kinds[0]
    return kind


def _remedy(kind: Any) -> str:
    bare = _without_none(kind)
    if get_origin(bare) is Literal:
        return "give " + _one_of(get_args(bare))
    return _REMEDIES.get(bare, "give a text")


def _parse(kind: Any, raw: str) -> Any:
    if get_origin(kind) is Literal:
        if raw not in get_args(kind):
            raise ValueError(f"is not known: give {_one_of(get_args(kind))}")
        return raw
    if get_origin(kind) is tuple:
        return tuple(part.strip() for part in raw.split(",") if part.strip())
    if kind not in _PARSERS:
        raise TypeError(f"settings fields of type {kind!r} are not supported")
    return _PARSERS[kind](raw)


def _one_of(values: Iterable[object]) -> str:
    return "one of " + ", ".join(str(value) for value in values)


def _bool(raw: str) -> bool:
    if raw.lower() in _TRUE:
        return True
    if raw.lower() in _FALSE:
        return False
    raise ValueError("is not a truth value: give true or false")


def _int(raw: str) -> int:
    try:
        return int(raw)
    except ValueError:
        raise ValueError("is not a whole number: give one, such as 5") from None


def _float(raw: str) -> float:
    try:
        number = float(raw)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError("is not a number: give one, such as 0.5")
    return number


def _seconds(raw: str) -> timedelta:
    seconds = _float(raw)
    if seconds < 0:
        raise ValueError("is negative: give seconds, 0 or more")
    return timedelta(seconds=seconds)


def _secret(raw: str) -> Secret:
    path = _readable(raw)
    value = path.read_text(encoding="utf-8").strip()
    if not value:
        raise ValueError("names an empty file: write the secret into it")
    return Secret(value)


def _readable(raw: str) -> Path:
    path = Path(raw).expanduser()
    if not path.is_file():
        raise ValueError("names no readable file: give the path of one")
    return path


_PARSERS: Mapping[Any, Callable[[str], Any]] = {
    str: str,
    int: _int,
    float: _float,
    bool: _bool,
    timedelta: _seconds,
    Path: lambda raw: Path(raw).expanduser(),
    Secret: _secret,
}
_REMEDIES: Mapping[Any, str] = {
    str: "give a text",
    int: "give a whole number",
    float: "give a number",
    bool: "give true or false",
    timedelta: "give a number of seconds",
    Path: "give a path",
    Secret: "give the path of a file that holds it",
}
