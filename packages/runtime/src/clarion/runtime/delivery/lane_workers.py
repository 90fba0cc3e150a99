"""A few tasks that send one job after another: what providers without bulk calls need.

Each task stands for one connection. The jobs of all calls wait in one queue, so a free
task takes the next one of the highest lane, whichever call brought it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.runtime.delivery.lane_queue import LaneQueue
from clarion.runtime.delivery.outcome import Outcome
from clarion.runtime.delivery.provider import Settle

Deliver = Callable[[DeliveryJob], Awaitable[Outcome]]
"""Sends one job; must not raise, for its task would end."""


class LaneWorkers:
    """The tasks of one provider, started as they are needed, up to a number."""

    def __init__(
        self,
        name: str,
        most: int,
        connection: Callable[[], AbstractAsyncContextManager[Deliver]],
    ) -> None:
        """``connection`` is entered once by each task, which is named after it."""
        self._name = name
        self._most = most
        self._connection = connection
        self._queue: LaneQueue[tuple[DeliveryJob, _Call]] = LaneQueue()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._tasks: list[asyncio.Task[None]] = []

    async def send(self, jobs: Sequence[DeliveryJob], settle: Settle) -> None:
        """Settles every job when it was its turn; returns when all are settled."""
        if not jobs:
            return
        call = _Call(len(jobs), settle)
        for job in jobs:
            self._queue.put(job.priority, (job, call))
        self._wake(len(jobs))
        await call.done

    async def close(self) -> None:
        """Ends the tasks, whatever they are at."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def _wake(self, jobs: int) -> None:
        while jobs and self._idle:
            turn = self._idle.popleft()
            if not turn.done():
                turn.set_result(None)
                jobs -= 1
        while jobs and len(self._tasks) < self._most:
            name = f"{self._name} {len(self._tasks) + 1}"
            self._tasks.append(asyncio.create_task(self._work(), name=name))
            jobs -= 1

    async def _work(self) -> None:
        async with self._connection() as deliver:
            while True:
                job, call = await self._next()
                call.settle(job, await deliver(job))
                call.left -= 1
                if not call.left and not call.done.done():
                    call.done.set_result(None)

    async def _next(self) -> tuple[DeliveryJob, _Call]:
        while True:
            while (waiting := self._queue.take()) is not None:
                # A call that was cancelled leaves its jobs to whoever gets them.
                if not waiting[1].done.done():
                    return waiting
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle.append(turn)
            await turn


class _Call:
    """One call of ``send``: how many of its jobs are not settled yet."""

    __slots__ = ("done", "left", "settle")

    def __init__(self, jobs: int, settle: Settle) -> None:
        self.left = jobs
        self.settle = settle
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
