"""What could not be handled: kept whole, listed, redriven."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from google.protobuf.timestamp_pb2 import Timestamp

from clarion.api.event.v1.dead_letter_pb2 import DeadLetter
from clarion.runtime import streams as table
from clarion.runtime.errors import ClarionError
from clarion.runtime.jetstream.compression import published
from clarion.runtime.jetstream.errors import PoisonError, StreamApiError
from clarion.runtime.jetstream.inbound import Inbound

if TYPE_CHECKING:
    from clarion.runtime.jetstream.connection import Streams

TENANT_HEADER = "Clarion-Tenant"
"""On messages whose items all belong to one tenant."""
_DETAIL_LIMIT = 1000
_SCANNED_PER_PAGE = 10
_NO_MESSAGE = 10037


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message read from a stream by its sequence."""

    subject: str
    sequence: int
    data: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StoredDeadLetter:
    """A dead letter and where it lies."""

    sequence: int
    letter: DeadLetter


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters are meant; an empty field means any."""

    stage: str = ""
    lane: str = ""
    tenant_id: str = ""
    reason: str = ""

    @property
    def subject(self) -> str:
        stage = table.subject_token(self.stage) if self.stage else "*"
        lane = table.subject_token(self.lane) if self.lane else "*"
        return f"dlq.{stage}.{lane}"

    def matches(self, letter: DeadLetter) -> bool:
        """Whether the parts fit that are not in the subject."""
        return (not self.tenant_id or self.tenant_id == letter.tenant_id) and (
            not self.reason or self.reason == letter.reason
        )


@dataclass(frozen=True, slots=True)
class DeadLetterPage:
    """Some dead letters, oldest first."""

    letters: tuple[StoredDeadLetter, ...]
    next_after: int
    """What to pass as ``after`` for the next page; 0 = this is the last."""


class DeadLetters:
    """The DLQ stream."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    async def put(self, letter: DeadLetter) -> None:
        """Stores a letter; a repeat of its ``dead_letter_id`` within an hour is folded.

        An empty id becomes ``<stream>:<sequence>``. Raises as Publisher.publish.
        """
        if not letter.dead_letter_id:
            letter.dead_letter_id = f"{letter.source_stream}:{letter.source_sequence}"
        await self._streams.publisher.publish(
            table.dead_letter_subject(letter.stage, letter.lane),
            letter.SerializeToString(),
            message_id=letter.dead_letter_id,
        )

    async def put_failed(
        self, inbound: Inbound, error: Exception, now: datetime
    ) -> None:
        """Stores a message that its handler could not handle."""
        await self.put(
            letter_of(
                inbound.stream,
                StoredMessage(
                    inbound.subject, inbound.sequence, inbound.data, inbound.headers
                ),
                reason=_reason(error),
                detail=f"{type(error).__name__}: {error}",
                deliveries=inbound.deliveries,
                now=now,
            )
        )

    async def page(
        self,
        which: DeadLetterFilter | None = None,
        *,
        after: int = 0,
        page_size: int = 100,
    ) -> DeadLetterPage:
        """Up to ``page_size`` letters stored after that sequence.

        A page may hold fewer, even none, and still not be the last: only so many
        letters are looked at for one.
        """
        chosen = which or DeadLetterFilter()
        found: list[StoredDeadLetter] = []
        for _ in range(page_size * _SCANNED_PER_PAGE):
            message = await self._read_next(chosen.subject, after + 1)
            if message is None:
                return DeadLetterPage(tuple(found), 0)
            after = message.sequence
            letter = DeadLetter.FromString(message.data)
            if chosen.matches(letter):
                found.append(StoredDeadLetter(message.sequence, letter))
                if len(found) == page_size:
                    break
        return DeadLetterPage(tuple(found), after)

    async def redrive(self, stored: StoredDeadLetter) -> None:
        """Puts a letter's message back where it came from and removes the letter.

        Repeating it sends once: the id comes from the letter's place in the DLQ.
        """
        letter = stored.letter
        headers = {k: v for k, v in letter.headers.items() if not _is_servers(k)}
        await self._streams.publisher.publish(
            table.queue_subject(letter.source_subject),
            letter.body,
            message_id=f"redrive:{letter.dead_letter_id}:{stored.sequence}",
            headers=headers,
        )
        await self.delete(stored.sequence)

    async def redrive_all(self, which: DeadLetterFilter | None = None) -> int:
        """Redrives what is there now and matches; how many. Newer letters stay."""
        newest = await last_sequence(self._streams, table.DLQ)
        count = 0
        after = 0
        while True:
            page = await self.page(which, after=after)
            for stored in page.letters:
                if stored.sequence > newest:
                    return count
                await self.redrive(stored)
                count += 1
            after = page.next_after
            if not after or after >= newest:
                return count

    async def delete(self, sequence: int) -> None:
        """Removes a letter; one that is gone is no error."""
        await delete_message(self._streams, table.DLQ, sequence)

    async def _read_next(self, subject: str, first: int) -> StoredMessage | None:
        return await read_message(
            self._streams, table.DLQ, {"seq": first, "next_by_subj": subject}
        )


def letter_of(
    stream: str,
    message: StoredMessage,
    *,
    reason: str,
    detail: str,
    deliveries: int,
    now: datetime,
) -> DeadLetter:
    """A dead letter that holds a stream's message whole."""
    stage, lane = table.stage_and_lane(message.subject)
    failed_time = Timestamp()
    failed_time.FromDatetime(now)
    return DeadLetter(
        dead_letter_id=f"{stream}:{message.sequence}",
        source_stream=stream,
        source_subject=message.subject,
        source_sequence=message.sequence,
        stage=stage,
        lane=lane,
        tenant_id=message.headers.get(TENANT_HEADER, ""),
        reason=reason,
        detail=detail[:_DETAIL_LIMIT],
        failed_time=failed_time,
        deliveries=deliveries,
        body=message.data,
        headers=message.headers,
    )


async def read_message(
    streams: Streams, stream: str, which: Mapping[str, object]
) -> StoredMessage | None:
    """A stream's message by ``seq`` (and ``next_by_subj``); None when it is gone.

    As it was published; one that is not what its header says is as it is stored.
    """
    try:
        answer = await streams.js.request(f"STREAM.MSG.GET.{stream}", which)
    except StreamApiError as exc:
        if exc.err_code == _NO_MESSAGE:
            return None
        raise
    message: dict[str, Any] = answer["message"]
    data = base64.b64decode(message.get("data", ""))
    headers: Mapping[str, str] = _headers(base64.b64decode(message.get("hdrs", "")))
    with suppress(PoisonError):
        data, headers = published(data, headers)
    return StoredMessage(message["subject"], int(message["seq"]), data, headers)


async def delete_message(streams: Streams, stream: str, sequence: int) -> None:
    """Removes a message; one that is gone is no error."""
    try:
        await streams.js.request(
            f"STREAM.MSG.DELETE.{stream}", {"seq": sequence, "no_erase": True}
        )
    except StreamApiError:
        if await read_message(streams, stream, {"seq": sequence}) is not None:
            raise


async def last_sequence(streams: Streams, stream: str) -> int:
    """The sequence of the newest message that a stream ever stored."""
    answer = await streams.js.request(f"STREAM.INFO.{stream}")
    return int(answer["state"]["last_seq"])


def _headers(block: bytes) -> dict[str, str]:
    lines = block.decode("utf-8", "replace").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _is_servers(header: str) -> bool:
    return header.lower().startswith("nats-")


def _reason(error: Exception) -> str:
    if isinstance(error, PoisonError):
        return error.word
    if isinstance(error, ClarionError) and error.reason:
        return error.reason.lower()
    return "unhandled_error"
