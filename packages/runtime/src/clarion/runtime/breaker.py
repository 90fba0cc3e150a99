"""Not waiting for what does not answer, where going on without it is right."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from clarion.runtime.clock import Clock
from clarion.runtime.errors import UnavailableError

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Breaker:
    """Gives a dependency ``patience`` for each call.

    Once it did not answer, calls are refused at once, but for one in every ``pause``
    that tries again; its success lets all through.
    """

    def __init__(
        self, dependency: str, patience: timedelta, pause: timedelta, clock: Clock
    ) -> None:
        self._dependency = dependency
        self._patience = patience.total_seconds()
        self._pause = pause.total_seconds()
        self._clock = clock
        self._next_try: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether the dependency did not answer when it was asked last."""
        return self._next_try is not None

    async def call(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What ``ask`` answers; UnavailableError when it does not in time.

        A call that is given up is cancelled: it may or may not have been done.
        """
        if self._next_try is not None:
            if self._clock.monotonic() < self._next_try:
                raise UnavailableError(f"{self._dependency} did not answer just now")
            self._next_try = self._clock.monotonic() + self._pause
        task = asyncio.create_task(ask(), name=f"ask {self._dependency}")
        try:
            # Two waits: when the loop itself was late, the first ends with an answer
            # that is there and was not read yet.
            await asyncio.wait({task}, timeout=self._patience * 2 / 3)
            if not task.done():
                await asyncio.wait({task}, timeout=self._patience / 3)
            if not task.done():
                raise UnavailableError(f"{self._dependency} did not answer in time")
            answer = task.result()
        except UnavailableError:
            self._open()
            raise
        finally:
            task.cancel()
        self._next_try = None
        return answer

    def _open(self) -> None:
        if self._next_try is None:
            _log.warning(
                "dependency left alone",
                extra={"dependency": self._dependency, "seconds": self._pause},
            )
        self._next_try = self._clock.monotonic() + self._pause
