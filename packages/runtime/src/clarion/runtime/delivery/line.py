"""Who is held back in this process, and hears at once that those in front are over.

What is over elsewhere is not heard of here: a wait has an end, and then one asks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.runtime.delivery.entry import Entry

_Queue = tuple[str, str, str]
"""Tenant, person and type."""


class Line:
    """The places of all that are held back. One for a channel's worker."""

    def __init__(self) -> None:
        self._places: dict[_Queue, set[Places]] = {}

    def places(self, entries: Sequence[Entry]) -> Places:
        """To be entered as soon as the entries were told how many are in front."""
        return Places(self._places, entries)

    def is_over(self, job: DeliveryJob) -> None:
        """One delivery of a line is over, and that is stored."""
        queue = _queue_of(job)
        for places in self._places.get(queue, ()):
            places.moved(queue)


class Places:
    """Those of one step: ``with line.places(entries) as places``."""

    def __init__(
        self, places: dict[_Queue, set[Places]], entries: Sequence[Entry]
    ) -> None:
        self._places = places
        self._ahead: dict[_Queue, int] = {}
        for entry in entries:
            queue, ahead = _queue_of(entry.job), entry.claim.ahead
            self._ahead[queue] = min(ahead, self._ahead.get(queue, ahead))
        self._may_go = asyncio.Event()

    @property
    def may_go(self) -> bool:
        """Whether nobody is in front of one of them any more, as far as is known."""
        return self._may_go.is_set()

    @property
    def ahead(self) -> int:
        """How many are in front of the first of them."""
        return min(self._ahead.values())

    async def wait(self, seconds: float) -> None:
        """Returns when one of them may go, as far as is known here; or at the end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._may_go.wait()

    def moved(self, queue: _Queue) -> None:
        """One of those in front is over."""
        self._ahead[queue] -= 1
        if self._ahead[queue] <= 0:
            self._may_go.set()

    def __enter__(self) -> Self:
        for queue in self._ahead:
            self._places.setdefault(queue, set()).add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for queue in self._ahead:
            others = self._places[queue]
            others.discard(self)
            if not others:
                del self._places[queue]


def _queue_of(job: DeliveryJob) -> _Queue:
    return job.tenant_id, job.user_id, job.type
