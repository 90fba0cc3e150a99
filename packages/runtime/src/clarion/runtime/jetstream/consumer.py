"""Handling the messages of a durable: batches, holding, poison, stopping."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from clarion.runtime.clock import Clock, SystemClock
from clarion.runtime.errors import TransientError
from clarion.runtime.jetstream.errors import PoisonError
from clarion.runtime.jetstream.holding import Holding
from clarion.runtime.jetstream.inbound import Delivery, Inbound
from clarion.runtime.jetstream.metrics import MeasuringObserver
from clarion.runtime.jetstream.pace import Pace
from clarion.runtime.jetstream.ports import ConsumerObserver
from clarion.runtime.jetstream.pull import PullSubscription
from clarion.runtime.retry import backoff, ceiling
from clarion.runtime.streams import ACK_WAIT

if TYPE_CHECKING:
    from clarion.runtime.jetstream.connection import Streams

_log = logging.getLogger(__name__)

Handle = Callable[[Sequence[Inbound]], Awaitable[None]]
GivenUp = Callable[[Inbound], Awaitable[None]]

_HOLD_FIRST = timedelta(milliseconds=100)
_HOLD_MOST = timedelta(seconds=5)
_ALONE_FROM = 3
"""Deliveries from which a message is handled alone: it may be what kills workers."""
_CANCEL_GRACE = 1.0


class Consumer:
    """Pulls a durable and calls ``handle`` with what is there.

    A call gets 1..``max_messages`` messages, everything that waits and no more waiting,
    unless ``gather`` says how long the first one waits for others, or ``spacing`` how
    much later than the call before one begins that is not full;
    up to ``concurrency`` calls run at once, and ``prefetch`` more messages wait here.
    With ``patience`` little that comes while a call runs waits for its end, at most so
    long: it shares the next call with what comes meanwhile. ``worth_bytes`` or
    ``max_messages`` are worth a call of their own at once.

    * It returns: all are acked.
    * It raises TransientError: the messages are held, and the call is repeated with
      backoff until it works or the consumer stops. This costs no redelivery.
    * It raises PoisonError: of a batch, each message is tried alone; alone, it goes to
      the DLQ.
    * It raises anything else: the same, but alone a message is given back with
      ``retry_first``, doubling, and goes to the DLQ at its ``give_up_at``-th delivery.

    ``given_up`` is told about what went to the DLQ, perhaps more often than once.

    Handlers must be idempotent: after a crash messages come again. Without an
    ``observer`` the metrics of the queues are recorded (jetstream/metrics.py).
    """

    def __init__(
        self,
        streams: Streams,
        *,
        stream: str,
        durable: str,
        handle: Handle,
        concurrency: int = 4,
        max_messages: int = 64,
        max_bytes: int = 4 * 1024 * 1024,
        prefetch: int | None = None,
        prefetch_bytes: int = 32 * 1024 * 1024,
        ack_wait: timedelta = ACK_WAIT,
        give_up_at: int = 5,
        retry_first: timedelta = timedelta(milliseconds=500),
        gather: timedelta = timedelta(0),
        spacing: timedelta = timedelta(0),
        patience: timedelta = timedelta(0),
        worth_bytes: int = 64 * 1024,
        observer: ConsumerObserver | None = None,
        given_up: GivenUp | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.stream = stream
        self.durable = durable
        self._streams = streams
        self._handle = handle
        self._concurrency = concurrency
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._prefetch = prefetch or concurrency * max_messages
        self._prefetch_bytes = prefetch_bytes
        self._give_up_at = give_up_at
        self._retry_first = retry_first
        self._gather = gather.total_seconds()
        self._pace = Pace(spacing, patience, worth_bytes)
        self._observer = observer or MeasuringObserver()
        self._given_up = given_up
        self._clock = clock or SystemClock()
        self._holding = Holding(streams, ack_wait)
        self._buffer: deque[Delivery] = deque()
        self._buffered_bytes = 0
        self._suspects: set[tuple[int, int]] = set()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._stopping = asyncio.Event()
        self._stopped = asyncio.Event()
        self._workers: list[asyncio.Task[None]] = []
        self._side_tasks: list[asyncio.Task[None]] = []
        self._pull = PullSubscription(
            streams,
            stream,
            durable,
            capacity=self._prefetch,
            room=self._room,
            receive=self._receive,
        )

    @property
    def name(self) -> str:
        """Stream and durable."""
        return f"{self.stream}/{self.durable}"

    async def start(self) -> None:
        """Begins to pull; returns at once, also when the durable is not there yet."""
        self._side_tasks = [
            asyncio.create_task(self._pull.run(), name=f"{self.name} pull"),
            asyncio.create_task(self._holding.beat(), name=f"{self.name} heartbeat"),
        ]
        self._workers = [
            asyncio.create_task(self._work(), name=f"{self.name} worker {n}")
            for n in range(self._concurrency)
        ]

    async def wait(self) -> None:
        """Returns after ``stop``; raises what killed the consumer otherwise."""
        stopped = asyncio.create_task(self._stopped.wait(), name=f"{self.name} wait")
        tasks = (*self._side_tasks, *self._workers)
        try:
            await asyncio.wait((*tasks, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        for task in tasks:
            if not self._stopping.is_set() and task.done():
                task.result()
                raise RuntimeError(f"{task.get_name()} ended")
        await self._stopped.wait()

    async def stop(self, drain: timedelta = timedelta(seconds=10)) -> None:
        """Takes nothing new, lets calls under way finish, gives everything else back.

        Calls that still run after ``drain`` are cancelled and their messages given
        back: they will be delivered again. Safe to call twice.
        """
        if self._stopping.is_set():
            await self._stopped.wait()
            return
        self._stopping.set()
        self._pace.end_waits()
        while self._idle:
            self._wake_one()
        if not self._side_tasks:
            self._stopped.set()
            return
        pull, heartbeat = self._side_tasks
        await self._pull.stop()
        await _cancelled([pull])
        # First of all, so that other workers can go on with them.
        await self._holding.nak(self._taken(len(self._buffer)))
        if self._workers:
            _, late = await asyncio.wait(self._workers, timeout=drain.total_seconds())
            if late:
                _log.warning(
                    "handlers cancelled after the drain limit",
                    extra={"consumer": self.name, "calls": len(late)},
                )
                await _cancelled(list(late))
        self._holding.end()
        await _cancelled([heartbeat])
        await self._holding.nak(self._holding.unsettled())
        self._stopped.set()

    async def _receive(self, delivery: Delivery) -> None:
        if await self._holding.take_in(delivery):
            # Behind others it waits for the worker that these woke up.
            is_first = not self._buffer
            self._buffer.append(delivery)
            self._buffered_bytes += delivery.size
            if is_first:
                self._wake_one()
            self._pace.grew(self._buffered_bytes, self._is_full())

    def _wake_one(self) -> None:
        while self._idle:
            turn = self._idle.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _room(self) -> tuple[int, int]:
        return (
            self._prefetch - len(self._buffer),
            self._prefetch_bytes - self._buffered_bytes,
        )

    async def _work(self) -> None:
        while True:
            if self._stopping.is_set():
                return
            if not self._buffer:
                turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._idle.append(turn)
                await turn
                if self._gather:
                    await asyncio.sleep(self._gather)
                continue
            came = self._buffer[0].inbound.received
            size, is_full = self._buffered_bytes, self._is_full()
            if not await self._pace.is_due(came, size, is_full):
                continue
            batch = self._next_batch()
            if self._buffer:
                self._wake_one()
            self._pull.wake()
            try:
                with self._pace.call():
                    await self._settle(batch)
            except _StoppingError:
                pass
            finally:
                if left := [d for d in batch if self._holding.holds(d)]:
                    await self._holding.nak(left)

    def _is_full(self) -> bool:
        return (
            len(self._buffer) >= self._max_messages
            or self._buffered_bytes >= self._max_bytes
        )

    def _next_batch(self) -> list[Delivery]:
        size = 0
        count = 0
        for delivery in self._buffer:
            size += delivery.size
            alone = self._is_suspect(delivery)
            if count and (alone or size > self._max_bytes):
                break
            count += 1
            if alone or count == self._max_messages:
                break
        return self._taken(count)

    def _taken(self, count: int) -> list[Delivery]:
        taken = [self._buffer.popleft() for _ in range(count)]
        self._buffered_bytes -= sum(d.size for d in taken)
        return taken

    def _is_suspect(self, delivery: Delivery) -> bool:
        return (
            delivery.inbound.deliveries >= _ALONE_FROM or delivery.key in self._suspects
        )

    async def _settle(self, batch: list[Delivery]) -> None:
        error = await self._call(batch)
        if error is None:
            await self._acked(batch)
        elif len(batch) == 1:
            await self._give_back_or_up(batch[0], error)
        else:
            for delivery in batch:
                await self._settle([delivery])

    async def _call(self, batch: list[Delivery]) -> Exception | None:
        """Calls the handler until it works or fails for good."""
        oldest = min(delivery.inbound.stored_time for delivery in batch)
        age = max(self._clock.now() - oldest, timedelta(0))
        attempt = 0
        while True:
            attempt += 1
            try:
                await self._handle(tuple(d.inbound.as_published() for d in batch))
            except TransientError as exc:
                await self._hold(batch, exc, attempt)
            except asyncio.CancelledError as exc:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                # Something that the handler awaited was cancelled, not the handler.
                await self._hold(batch, exc, attempt)
            except Exception as exc:  # the edge of the handler: poison is dealt with
                self._observer.failed(self.durable, len(batch), exc)
                _log.warning(
                    "handler failed",
                    extra={"consumer": self.name, "messages": len(batch)},
                    exc_info=exc,
                )
                return exc
            else:
                self._observer.handled(self.durable, len(batch), age)
                return None

    async def _hold(
        self, batch: list[Delivery], error: BaseException, attempt: int
    ) -> None:
        self._observer.held(self.durable, len(batch), error)
        if attempt == 1:
            _log.warning(
                "messages held",
                extra={
                    "consumer": self.name,
                    "messages": len(batch),
                    "error": type(error).__name__,
                    "detail": str(error),
                },
            )
        asked = getattr(error, "retry_after", None)
        wait = backoff(
            attempt,
            first=_HOLD_FIRST,
            most=_HOLD_MOST,
            at_least=min(asked, _HOLD_MOST) if asked else None,
        )
        # Full jitter may be nothing at all; a failing neighbour deserves a pause.
        seconds = max(wait, _HOLD_FIRST / 2).total_seconds()
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
        raise _StoppingError

    async def _acked(self, batch: list[Delivery]) -> None:
        for delivery in batch:
            self._suspects.discard(delivery.key)
        await self._holding.ack(batch)

    async def _give_back_or_up(self, delivery: Delivery, error: Exception) -> None:
        deliveries = delivery.inbound.deliveries
        if isinstance(error, PoisonError) or deliveries >= self._give_up_at:
            await self._give_up(delivery, error)
            return
        # Known to be bad from now on: its next batch mates are spared a failed call.
        self._suspects.add(delivery.key)
        most = ceiling(deliveries, first=self._retry_first, most=timedelta(seconds=30))
        half = most / 2
        await self._holding.nak(
            [delivery], half + backoff(deliveries, first=half, most=half)
        )

    async def _give_up(self, delivery: Delivery, error: Exception) -> None:
        message = delivery.inbound
        with suppress(PoisonError):
            message = message.as_published()
        attempt = 0
        while True:
            attempt += 1
            try:
                await self._streams.dead_letters.put_failed(
                    message, error, self._clock.now()
                )
                if self._given_up is not None:
                    await self._given_up(message)
                break
            except TransientError as exc:
                await self._hold([delivery], exc, attempt)
        self._suspects.discard(delivery.key)
        await self._holding.terminate(delivery, type(error).__name__)
        self._observer.dead_lettered(self.durable, error)
        _log.error(
            "message dead-lettered",
            extra={
                "consumer": self.name,
                "sequence": delivery.inbound.sequence,
                "deliveries": delivery.inbound.deliveries,
            },
            exc_info=error,
        )


class _StoppingError(Exception):
    """The consumer stops while messages are held."""


async def _cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancels tasks and waits for their end, not for ever."""
    for task in tasks:
        task.cancel("the consumer stops")
    await asyncio.wait(tasks, timeout=_CANCEL_GRACE)
