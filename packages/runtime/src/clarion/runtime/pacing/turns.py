"""Whose step is next where several tenants wait for the same one: each gets as much."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

Party = frozenset[str]
"""The tenants of one batch."""


class Turns:
    """A lock that is next for who has had least of it, counted in items.

    Who comes anew begins where the others are, so nobody saves up turns by waiting.
    """

    def __init__(self) -> None:
        self._waiting: dict[Party, deque[asyncio.Future[None]]] = {}
        self._had: dict[Party, int] = {}
        self._now = 0
        """What the one whose turn it is had before."""
        self._is_taken = False

    @asynccontextmanager
    async def turn(self, tenants: Collection[str]) -> AsyncIterator[None]:
        """Around one step of these tenants; ``had`` says how much it was."""
        party = frozenset(tenants)
        if self._is_taken:
            await self._wait(party)
        self._is_taken = True
        self._now = self._place(party)
        try:
            yield
        finally:
            self._next()

    def had(self, tenants: Collection[str], items: int) -> None:
        """The step that these tenants take has so many items."""
        party = frozenset(tenants)
        self._had[party] = self._place(party) + items

    async def _wait(self, party: Party) -> None:
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(party, deque()).append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._next()
            raise

    def _place(self, party: Party) -> int:
        return max(self._had.get(party, 0), self._now)

    def _next(self) -> None:
        self._is_taken = False
        while self._waiting:
            party = min(self._waiting, key=self._place)
            line = self._waiting[party]
            first = line.popleft()
            if not line:
                del self._waiting[party]
            if not first.done():
                # Nobody comes in between.
                self._is_taken = True
                first.set_result(None)
                return
        # Who is no further than everybody need not be remembered.
        self._had = {p: had for p, had in self._had.items() if had > self._now}
