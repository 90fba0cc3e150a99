"""What fires in one second is dealt with together: every store is a sync to disk.

The stream that fires syncs as well, once for each, and they wait for each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from clarion.runtime.errors import TransientError

T = TypeVar("T")


class Together(Generic[T]):
    """Shares one call among all that come while the one before is under way."""

    def __init__(
        self, handle: Callable[[Sequence[T]], Awaitable[object]], pause: float = 0.0
    ) -> None:
        """``pause`` is how many seconds a call waits for others to come."""
        self._handle = handle
        self._pause = pause
        self._waiting: list[tuple[Sequence[T], asyncio.Future[None]]] = []
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, items: Sequence[T]) -> None:
        """Returns when the items are dealt with. Raises what became of them."""
        if not items:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((items, done))
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="together")
        await done

    async def _run(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(self._pause)
                calls, self._waiting = self._waiting, []
                await self._settle(calls)
        finally:
            self._running = None

    async def _settle(
        self, calls: Sequence[tuple[Sequence[T], asyncio.Future[None]]]
    ) -> None:
        error: Exception | None = None
        try:
            await self._handle([item for items, _ in calls for item in items])
        except Exception as raised:  # each of those who wait gets it
            error = raised
        if error is None or isinstance(error, TransientError) or len(calls) == 1:
            for _, done in calls:
                _tell(done, error)
            return
        # One of them is bad: the others must not fail for it.
        for call in calls:
            await self._settle([call])


def _tell(done: asyncio.Future[None], error: Exception | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
