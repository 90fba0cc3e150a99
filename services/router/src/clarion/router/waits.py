"""How long notifications wait in each lane, as this router's workers see it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from clarion.runtime.clock import Clock

_REMEMBERED = timedelta(seconds=1)
"""How long the wait of the last batch says something."""


class Waits:
    """The ages of what is in hand and of what was lately."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._in_hand: dict[str, list[datetime]] = {}
        self._last: dict[str, tuple[timedelta, datetime]] = {}

    @contextmanager
    def in_hand(self, flow: str, stored: datetime) -> Iterator[None]:
        """Around the handling of a batch whose oldest item was stored then."""
        begun = self._in_hand.setdefault(flow, [])
        begun.append(stored)
        now = self._clock.now()
        self._last[flow] = (now - stored, now)
        try:
            yield
        finally:
            begun.remove(stored)

    def longest(self, flow: str) -> timedelta:
        """How long an item of the flow waits before it is done with; nothing if idle.

        What is in hand counts until now: while a neighbour does not answer, it grows.
        """
        now = self._clock.now()
        waited = max((now - at for at in self._in_hand.get(flow, ())), default=None)
        age, at = self._last.get(flow, (timedelta(0), now))
        if now - at > _REMEMBERED:
            age = timedelta(0)
        return age if waited is None else max(age, waited)
