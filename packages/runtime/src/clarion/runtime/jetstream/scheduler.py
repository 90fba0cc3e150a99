"""Publishing at a later time: JetStream message schedules on SCHED."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING

from clarion.runtime import streams as table
from clarion.runtime.errors import UnavailableError
from clarion.runtime.jetstream.atomic_batch import (
    MOST_MESSAGES,
    BatchError,
    publish_batch,
)
from clarion.runtime.jetstream.errors import StreamApiError
from clarion.runtime.jetstream.publisher import MESSAGE_ID
from clarion.runtime.tracing import current_traceparent

if TYPE_CHECKING:
    from clarion.runtime.jetstream.connection import Streams

_log = logging.getLogger(__name__)

_TTL = f"{int(table.FIRED_TTL.total_seconds())}s"
_NO_MESSAGE = 10037
_AT_ONCE = 4
"""Batches under way, so that a lost answer does not hold up everybody."""
_SINGLES = 128


class _Write:
    """One schedule on its way."""

    __slots__ = ("body", "headers", "id", "stored", "subject")

    def __init__(
        self,
        subject: str,
        body: bytes,
        headers: Mapping[str, str],
        id: str,
        stored: asyncio.Future[None],
    ) -> None:
        self.subject = subject
        self.body = body
        self.headers = headers
        self.id = id
        self.stored = stored

    def settle(self, error: Exception | None) -> None:
        """Tells the caller, who may have been cancelled."""
        if self.stored.done():
            return
        if error is None:
            self.stored.set_result(None)
        else:
            self.stored.set_exception(error)


class JetStreamScheduler:
    """The Scheduler port on a JetStream connection.

    The server removes the message id when it fires: what arrives has none, so the
    body must carry an identity. Firing is at least once.

    Schedules that are made at the same time are stored together, with one sync to disk;
    one alone goes at once. Where a batch is refused, as for one that was stored
    before, each of it is stored by itself.
    """

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._waiting: list[_Write] = []
        self._in_flight: set[asyncio.Task[None]] = set()
        self._starting = False

    async def schedule(
        self,
        subject: str,
        *,
        target: str,
        due: datetime,
        body: bytes,
        message_id: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """See the Scheduler port."""
        timing = schedule_headers(target, due)
        at = timing["Nats-Schedule"].removeprefix("@at ")
        sent = {**(headers or {}), **timing}
        if "traceparent" not in sent and (traceparent := current_traceparent()):
            sent["traceparent"] = traceparent
        # A known id is answered "duplicate" and changes nothing, whatever its subject:
        # so all that makes this version of this schedule is in the id.
        version = _version(message_id, subject, at, body)
        loop = asyncio.get_running_loop()
        write = _Write(subject, body, sent, version, loop.create_future())
        self._waiting.append(write)
        if not self._starting:
            # Those of the same turn of the loop share a batch.
            self._starting = True
            loop.call_soon(self._start)
        await write.stored

    def _start(self) -> None:
        self._starting = False
        while self._waiting and len(self._in_flight) < _AT_ONCE:
            run = self._waiting[:MOST_MESSAGES]
            del self._waiting[:MOST_MESSAGES]
            task = asyncio.create_task(self._store(run), name="schedule")
            self._in_flight.add(task)
            task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        if self._waiting and not self._starting:
            self._start()

    async def _store(self, writes: Sequence[_Write]) -> None:
        if len(writes) > 1:
            try:
                await publish_batch(
                    self._streams,
                    [
                        (one.subject, one.body, {**one.headers, MESSAGE_ID: one.id})
                        for one in writes
                    ],
                )
            except BatchError as refused:
                _log.debug("batch not stored", extra={"detail": str(refused)})
            else:
                for one in writes:
                    one.settle(None)
                return
        # Of what a lost answer had stored after all, the ids are known.
        for start in range(0, len(writes), _SINGLES):
            run = writes[start : start + _SINGLES]
            await asyncio.gather(*(self._store_one(one) for one in run))

    async def _store_one(self, write: _Write) -> None:
        try:
            await self._publish(write)
        except asyncio.CancelledError:
            write.settle(UnavailableError("the scheduler was cancelled"))
            raise
        except Exception as error:  # the caller gets it
            write.settle(error)
        else:
            write.settle(None)

    async def _publish(self, write: _Write) -> None:
        publisher = self._streams.publisher
        ack = await publisher.publish_acked(
            write.subject, write.body, message_id=write.id, headers=write.headers
        )
        # A first try that is a duplicate was sent by an earlier call. If nothing is
        # there, that one was cancelled or replaced (purges do not forget ids) or has
        # fired; firing twice is folded by the receiver, losing it would not be.
        if ack.duplicate and ack.tries == 1 and not await self._is_there(ack.sequence):
            await publisher.publish_acked(
                write.subject,
                write.body,
                message_id=f"{write.id}+{ack.sequence}",
                headers=write.headers,
            )

    async def cancel(self, subject: str) -> int:
        """See the Scheduler port."""
        answer = await self._streams.js.request(
            f"STREAM.PURGE.{table.SCHED}", {"filter": subject}
        )
        return int(answer.get("purged", 0))

    async def _is_there(self, sequence: int) -> bool:
        try:
            await self._streams.js.request(
                f"STREAM.MSG.GET.{table.SCHED}", {"seq": sequence}
            )
        except StreamApiError as exc:
            if exc.err_code == _NO_MESSAGE:
                return False
            raise
        return True


def schedule_headers(target: str, due: datetime) -> dict[str, str]:
    """What makes a message of SCHED a schedule, to the millisecond."""
    at = due.astimezone(UTC).isoformat(timespec="milliseconds")
    return {
        "Nats-Schedule": f"@at {at.replace('+00:00', 'Z')}",
        "Nats-Schedule-Target": target,
        "Nats-Schedule-TTL": _TTL,
    }


def _version(message_id: str, subject: str, at: str, body: bytes) -> str:
    digest = blake2b(f"{subject} {at} ".encode(), digest_size=8)
    digest.update(body)
    return f"{message_id}@{digest.hexdigest()}"
