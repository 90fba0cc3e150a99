"""Named background tasks: the first one that dies stops the service."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from clarion.runtime.identity import context_of, current_service

logger = logging.getLogger(__name__)


class Supervisor:
    """Owns the background tasks of a service.

    A task that ends, with an error or without, is a fault: background tasks run until
    they are cancelled. ``failed`` then resolves to its name.
    """

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._stopping = False

    def start(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Starts a task in a fresh context: no caller, deadline or trace of a starter
        is inherited by work that outlives it, only the service that it belongs to."""
        context = context_of(current_service())
        task = asyncio.create_task(run(), name=name, context=context)
        self._tasks[task] = name
        task.add_done_callback(self._ended)

    async def failed(self) -> str:
        """Waits for the first death; the name of the task that died."""
        return await asyncio.shield(self._failed)

    def release(self) -> None:
        """From now on a task may end by itself: what it watches is being stopped."""
        self._stopping = True

    async def stop(self) -> None:
        """Cancels all tasks and waits until they are gone."""
        self.release()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel("the service stops")
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        name = self._tasks.pop(task)
        error = None if task.cancelled() else task.exception()
        if self._stopping:
            if error is not None:
                logger.warning(
                    "task failed while stopping", extra={"task": name}, exc_info=error
                )
            return
        logger.critical("task died", extra={"task": name}, exc_info=error)
        if not self._failed.done():
            self._failed.set_result(name)
