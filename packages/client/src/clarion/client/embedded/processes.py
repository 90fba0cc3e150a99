"""What the supervisor runs: one row per process, and one per step that only happens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum

from clarion.client.embedded.child import Command


class Tier(IntEnum):
    """The order of stopping: from the edge inwards, the servers last."""

    SERVER = 0
    SANDBOX = 1
    SERVICE = 2
    EDGE = 3


async def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Process:
    """One row: a process that is kept running."""

    name: str
    tier: Tier
    command: Callable[[], Command]
    """Asked before every start, once what it needs is ready."""
    check: Callable[[], Awaitable[None]]
    """Returns when it serves, raises when it does not."""
    needs: tuple[str, ...] = ()
    """Processes and steps that must be ready before its first start."""
    port: int | None = None
    prepare: Callable[[], Awaitable[None]] = _nothing
    """Run before every start."""
    clean_up: Callable[[], None] = lambda: None
    """Run after its end when the stack stops."""
    stop_seconds: float = 10
    """How long it may take to stop before it is killed."""


@dataclass(frozen=True, slots=True)
class Step:
    """One row: something that is done once, such as declaring the streams."""

    name: str
    run: Callable[[], Awaitable[None]]
    """Repeated until it succeeds."""
    needs: tuple[str, ...] = ()


Row = Process | Step
