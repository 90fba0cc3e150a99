"""Keeps what a process holds in memory in step with a table that others write.

What is followed is read again by itself every half second, so a change is known within
a second; a hint (on core NATS, say) makes it sooner and may be lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from clarion.runtime.errors import UnavailableError

_log = logging.getLogger(__name__)

REFRESH = timedelta(milliseconds=500)
"""Half of the second in which a change is honoured; hints make it sooner."""


class Follower:
    """Calls ``read`` again and again, never twice at a time.

    ``read`` takes over what changed and raises UnavailableError while its source does
    not answer; what was read last holds then.
    """

    def __init__(
        self,
        what: str,
        read: Callable[[], Awaitable[None]],
        refresh: timedelta = REFRESH,
    ) -> None:
        """``what`` is followed, for the log."""
        self._what = what
        self._read = read
        self._refresh = refresh.total_seconds()
        self._hint = asyncio.Event()
        self._reading = asyncio.Lock()
        self._is_failing = False

    def hint(self) -> None:
        """Something changed somewhere: it is looked for at once."""
        self._hint.set()

    async def read(self) -> None:
        """Takes over what changed. Raises UnavailableError."""
        async with self._reading:
            await self._read()

    async def look(self) -> None:
        """Takes over what changed, if the source answers; else that is logged once."""
        try:
            await self.read()
        except UnavailableError as error:
            if not self._is_failing:
                _log.warning(
                    "changes not read", extra={"what": self._what, "detail": str(error)}
                )
            self._is_failing = True
        else:
            self._is_failing = False

    async def run(self) -> None:
        """Looks for changes for ever; a supervised task."""
        while True:
            try:
                async with asyncio.timeout(self._refresh):
                    await self._hint.wait()
            except TimeoutError:
                pass
            self._hint.clear()
            await self.look()
