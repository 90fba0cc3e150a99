"""When a consumer's next call begins: what comes shares calls where that is cheaper."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta


class Pace:
    """Says whether what waits goes now. Consumer has what the limits mean."""

    def __init__(
        self, spacing: timedelta, patience: timedelta, worth_bytes: int
    ) -> None:
        self._spacing = spacing.total_seconds()
        self._patience = patience.total_seconds()
        self._worth_bytes = worth_bytes
        self._not_before = 0.0
        self._calls = 0
        self._turn = asyncio.Event()

    async def is_due(self, came: float, size: int, is_full: bool) -> bool:
        """Whether a call may begin; else it may when this returns.

        ``came`` is when the first came that waits, ``size`` the bytes of all.
        """
        now = asyncio.get_running_loop().time()
        if self._patience and self._calls and not self._is_worth_a_call(size, is_full):
            wait = came + self._patience - now
            if wait > 0:
                self._turn.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._turn.wait()
                return False
        if not self._spacing:
            return True
        wait = self._not_before - now
        if wait > 0 and not is_full:
            await asyncio.sleep(wait)
            return False
        self._not_before = now + self._spacing
        return True

    def grew(self, size: int, is_full: bool) -> None:
        """More waits than before."""
        if self._is_worth_a_call(size, is_full):
            self._turn.set()

    def _is_worth_a_call(self, size: int, is_full: bool) -> bool:
        return is_full or size >= self._worth_bytes

    @contextmanager
    def call(self) -> Iterator[None]:
        """Around each call."""
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1
            self.end_waits()

    def end_waits(self) -> None:
        """Nobody waits for the end of a call any more."""
        self._turn.set()
