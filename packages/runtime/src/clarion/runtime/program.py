"""What a service is to the process that runs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from clarion.runtime.errors import ConfigError

if TYPE_CHECKING:
    from clarion.runtime.service import Service

ENTRY_POINTS = "clarion.services"
"""The group by which a distribution tells which service it has."""

S = TypeVar("S")
Build = Callable[["Service", S], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Program(Generic[S]):
    """One service: ``clarion-<name>`` runs it alone, ``clarion-host`` with others."""

    name: str
    settings: type[S]
    build: Build[S]
    """Wires the service; awaited once, before it starts."""


def installed(name: str) -> Program[Any]:
    """The service of that name; ConfigError says which are installed."""
    found = entry_points(group=ENTRY_POINTS)
    if name not in found.names:
        known = ", ".join(sorted(found.names)) or "none"
        raise ConfigError(f"no service {name!r} is installed: there are {known}")
    program: Program[Any] = found[name].load()
    return program
