"""Group commit: what is submitted while a publish is under way shares the next."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Generic, TypeVar

from clarion.runtime.errors import UnavailableError
from clarion.runtime.jetstream.ports import Publisher

T = TypeVar("T")

_PATIENCE = 0.02
"""Seconds an item waits for the publish before it; then a second one is opened, so
that one lost ack does not stall everybody for its whole timeout."""


class _Ticket:
    """The wait of one caller for its items."""

    __slots__ = ("done", "left")

    def __init__(self, items: int, done: asyncio.Future[None]) -> None:
        self.left = items
        self.done = done

    def stored(self) -> None:
        self.left -= 1
        if self.left == 0 and not self.done.done():
            self.done.set_result(None)

    def failed(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class GroupPublisher(Generic[T]):
    """Publishes items in chunks that are as large as the load makes them.

    An item alone is published at once. Under load each publish takes everything that
    came meanwhile. ``encode`` makes one message body of a chunk; ``max_items`` and
    ``max_bytes`` (sum of the sizes given) bound a chunk, a larger item goes alone.

    ``spacing`` is the time from one publish to the next that is not full: where items
    come one by one and nobody waits for them, it makes few messages of many. The first
    one after a pause still goes at once, and so do ``worth_bytes`` (else ``max_bytes``)
    that wait.
    """

    def __init__(
        self,
        publisher: Publisher,
        subject: str,
        encode: Callable[[Sequence[T]], bytes],
        *,
        max_items: int = 512,
        max_bytes: int = 700_000,
        in_flight: int = 4,
        spacing: timedelta = timedelta(0),
        worth_bytes: int | None = None,
    ) -> None:
        self._publisher = publisher
        self._subject = subject
        self._encode = encode
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._worth_bytes = worth_bytes or max_bytes
        self._max_in_flight = in_flight
        self._waiting: deque[tuple[T, int, _Ticket]] = deque()
        self._waiting_bytes = 0
        self._in_flight: set[asyncio.Task[None]] = set()
        self._starting = False
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._spacing = spacing.total_seconds()
        self._not_before = 0.0
        # Chunks have no identity of their own (items have); a random origin and a
        # counter are unique and cost less than an id each.
        self._origin = uuid.uuid4().hex
        self._chunks = 0

    async def submit(self, item: T, size: int) -> None:
        """Returns when the item is stored; raises what Publisher.publish raises."""
        await self.submit_all(((item, size),))

    async def submit_all(self, items: Iterable[tuple[T, int]]) -> None:
        """Returns when all (item, size) pairs are stored.

        When it raises, some may have been stored: submit all again, ids fold them.
        """
        if self._closed:
            raise UnavailableError("the publisher is closed")
        batch = list(items)
        if not batch:
            return
        ticket = _Ticket(len(batch), asyncio.get_running_loop().create_future())
        for item, size in batch:
            self._waiting.append((item, size, ticket))
            self._waiting_bytes += size
        self._start_soon()
        await ticket.done

    async def close(self) -> None:
        """Refuses new items and returns when the old ones are settled."""
        self._closed = True
        self._spacing = self._not_before = 0.0
        self._start()
        while self._waiting or self._in_flight or self._starting:
            if self._in_flight:
                await asyncio.wait(self._in_flight)
            else:
                await asyncio.sleep(0)
        if self._timer is not None:
            self._timer.cancel()

    def _start_soon(self) -> None:
        # Callers that wake in the same turn of the loop share one chunk.
        if not self._starting:
            self._starting = True
            asyncio.get_running_loop().call_soon(self._start)

    def _start(self, *, impatient: bool = False) -> None:
        self._starting = False
        loop = asyncio.get_running_loop()
        while self._waiting and len(self._in_flight) < self._max_in_flight:
            full = (
                len(self._waiting) >= self._max_items
                or self._waiting_bytes >= self._worth_bytes
            )
            wait = self._not_before - loop.time()
            if self._in_flight:
                wait = max(wait, _PATIENCE)
            if wait > 0 and not full and not impatient:
                if self._timer is None:
                    self._timer = loop.call_later(wait, self._ran_out_of_patience)
                return
            impatient = False
            self._chunks += 1
            self._not_before = loop.time() + self._spacing
            task = asyncio.create_task(
                self._publish(self._take(), f"{self._origin}-{self._chunks}"),
                name="group publish",
            )
            self._in_flight.add(task)
            task.add_done_callback(self._finished)

    def _ran_out_of_patience(self) -> None:
        self._timer = None
        self._start(impatient=True)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # Soon, not now: callers that this publish woke up may submit again first.
        if self._waiting:
            self._start_soon()

    def _take(self) -> list[tuple[T, int, _Ticket]]:
        chunk: list[tuple[T, int, _Ticket]] = []
        size = 0
        while self._waiting and len(chunk) < self._max_items:
            entry = self._waiting[0]
            if chunk and size + entry[1] > self._max_bytes:
                break
            self._waiting.popleft()
            size += entry[1]
            chunk.append(entry)
        self._waiting_bytes -= size
        return chunk

    async def _publish(
        self, chunk: list[tuple[T, int, _Ticket]], message_id: str
    ) -> None:
        try:
            body = self._encode([item for item, _, _ in chunk])
            await self._publisher.publish(self._subject, body, message_id=message_id)
        except asyncio.CancelledError:
            for _, _, ticket in chunk:
                ticket.failed(UnavailableError("the publisher was cancelled"))
            raise
        except Exception as exc:  # every waiting caller gets it
            for _, _, ticket in chunk:
                ticket.failed(exc)
        else:
            for _, _, ticket in chunk:
                ticket.stored()
