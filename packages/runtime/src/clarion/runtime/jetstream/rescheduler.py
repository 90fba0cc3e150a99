"""Changing the time of what is scheduled, so that of a change and a firing one wins."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

from clarion.runtime import streams as table
from clarion.runtime.jetstream.dead_letters import StoredMessage, read_message
from clarion.runtime.jetstream.errors import ScheduleGoneError, StreamApiError
from clarion.runtime.jetstream.in_memory import InMemoryScheduler, Scheduled
from clarion.runtime.jetstream.publisher import MESSAGE_ID
from clarion.runtime.jetstream.scheduler import schedule_headers

if TYPE_CHECKING:
    from clarion.runtime.jetstream.connection import Streams

_WRONG_LAST_SEQUENCE = 10071
_AT = "@at "

MARGIN = timedelta(seconds=1)
"""What falls due within this counts as fired. The server takes a message out to fire it
and removes its schedule afterwards, whatever that is by then: a change in between would
be answered and lost. Longer than the clocks of hosts differ."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A schedule that has not fired."""

    subject: str
    sequence: int
    """Names this version of it: a change gives another one."""
    target: str
    due: datetime
    body: bytes
    headers: Mapping[str, str]
    """Its own, without those of the server."""


class Rescheduler(Protocol):
    """Changes schedules. Raises as Publisher."""

    async def find(self, subject: str) -> Waiting | None:
        """What waits under a subject."""
        ...

    async def replace(self, waiting: Waiting, due: datetime, body: bytes) -> int:
        """Puts another time and body in its place; the new sequence.

        Raises ScheduleGoneError when it fired, is about to, was cancelled or changed
        since it was found: then nothing is changed. Repeating the same call is safe.
        """
        ...


class JetStreamRescheduler:
    """The Rescheduler port on a JetStream connection."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    async def find(self, subject: str) -> Waiting | None:
        """See Rescheduler."""
        found = await self._last(subject)
        return None if found is None else _waiting(found)

    async def replace(self, waiting: Waiting, due: datetime, body: bytes) -> int:
        """See Rescheduler."""
        if datetime.now(UTC) >= waiting.due - MARGIN:
            raise ScheduleGoneError
        # An id of its own: the stream would take a known one for a repetition and
        # change nothing.
        digest = blake2b(f"{waiting.subject} {due.isoformat()} ".encode())
        digest.update(body)
        message_id = f"after-{waiting.sequence}:{digest.hexdigest()[:32]}"
        headers = {
            **waiting.headers,
            **schedule_headers(waiting.target, due),
            "Nats-Expected-Last-Subject-Sequence": str(waiting.sequence),
        }
        try:
            ack = await self._streams.publisher.publish_acked(
                waiting.subject, body, message_id=message_id, headers=headers
            )
        except StreamApiError as exc:
            if exc.err_code != _WRONG_LAST_SEQUENCE:
                raise
            # It may be this very change, stored by a try whose ack was lost.
            now = await self._last(waiting.subject)
            if now is None or now.headers.get(MESSAGE_ID) != message_id:
                raise ScheduleGoneError from exc
            sequence = now.sequence
        else:
            sequence = ack.sequence
        await self._make_sure(waiting, message_id)
        return sequence

    async def _make_sure(self, waiting: Waiting, message_id: str) -> None:
        """Where storing it took so long that the old one may have fired: looks."""
        late = datetime.now(UTC) - (waiting.due - MARGIN / 2)
        if late < timedelta(0):
            return
        await asyncio.sleep(max(MARGIN - late, timedelta(0)).total_seconds())
        now = await self._last(waiting.subject)
        if now is None or now.headers.get(MESSAGE_ID) != message_id:
            raise ScheduleGoneError

    async def _last(self, subject: str) -> StoredMessage | None:
        return await read_message(self._streams, table.SCHED, {"last_by_subj": subject})


def _waiting(found: StoredMessage) -> Waiting:
    headers = found.headers
    at = headers["Nats-Schedule"].removeprefix(_AT)
    return Waiting(
        subject=found.subject,
        sequence=found.sequence,
        target=headers["Nats-Schedule-Target"],
        due=datetime.fromisoformat(at).astimezone(UTC),
        body=found.data,
        headers={
            name: value
            for name, value in headers.items()
            if not name.lower().startswith("nats-")
        },
    )


class InMemoryRescheduler:
    """Implements Rescheduler on what an InMemoryScheduler holds."""

    def __init__(self, scheduler: InMemoryScheduler) -> None:
        self._scheduler = scheduler
        self._last = 0
        self._sequences: dict[str, tuple[Scheduled, int]] = {}

    async def find(self, subject: str) -> Waiting | None:
        if self._scheduler.error is not None:
            raise self._scheduler.error
        found = self._scheduler.scheduled.get(subject)
        if found is None:
            return None
        return Waiting(
            subject,
            self._sequence(found),
            found.target,
            found.due,
            found.body,
            found.headers,
        )

    async def replace(self, waiting: Waiting, due: datetime, body: bytes) -> int:
        now = await self.find(waiting.subject)
        if now is None or now.sequence != waiting.sequence:
            raise ScheduleGoneError
        await self._scheduler.schedule(
            waiting.subject,
            target=waiting.target,
            due=due,
            body=body,
            message_id=f"after-{waiting.sequence}",
            headers=waiting.headers,
        )
        return self._sequence(self._scheduler.scheduled[waiting.subject])

    def _sequence(self, found: Scheduled) -> int:
        known = self._sequences.get(found.subject)
        if known is None or known[0] is not found:
            self._last += 1
            known = self._sequences[found.subject] = (found, self._last)
        return known[1]
