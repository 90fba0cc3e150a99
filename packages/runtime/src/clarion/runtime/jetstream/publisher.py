"""Publishing until it is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import nats.errors
import nats.js.errors

from clarion.runtime.errors import InvalidArgumentError, UnavailableError
from clarion.runtime.jetstream.compression import compressed
from clarion.runtime.jetstream.errors import (
    STREAM_FULL_CODES,
    StreamApiError,
    StreamFullError,
)
from clarion.runtime.jetstream.publish_answers import PublishAnswers
from clarion.runtime.retry import backoff
from clarion.runtime.tracing import current_traceparent

if TYPE_CHECKING:
    from clarion.runtime.jetstream.connection import Streams

MESSAGE_ID = "Nats-Msg-Id"
_TRY = 3.0
_FULL_RETRY_AFTER = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class PublishAck:
    """Where a message is stored."""

    stream: str
    sequence: int
    duplicate: bool
    """The id was stored before; the sequence is that one's."""
    tries: int


class JetStreamPublisher:
    """The Publisher port on a JetStream connection.

    One publish is tried with the same id for at least ``patience``: the stream folds
    repeats, so an ack lost with its connection is neither a loss nor a double.
    """

    def __init__(
        self,
        streams: Streams,
        *,
        patience: timedelta = timedelta(seconds=25),
        compresses: bool = True,
    ) -> None:
        self._streams = streams
        self._compresses = compresses
        self._answers = PublishAnswers(streams.nc)
        self._patience = patience.total_seconds()

    async def publish(
        self,
        subject: str,
        body: bytes,
        *,
        message_id: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """See the Publisher port."""
        await self.publish_acked(subject, body, message_id=message_id, headers=headers)

    async def publish_acked(
        self,
        subject: str,
        body: bytes,
        *,
        message_id: str,
        headers: Mapping[str, str] | None = None,
    ) -> PublishAck:
        """Publishes as ``publish`` does and says where the message is."""
        # A copy: nats-py writes into the mapping that it is given.
        sent = dict(headers) if headers else {}
        sent[MESSAGE_ID] = message_id
        if "traceparent" not in sent and (traceparent := current_traceparent()):
            sent["traceparent"] = traceparent
        size = len(body)
        if self._compresses:
            body = compressed(body, sent)
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._patience
        tries = 0
        while True:
            tries += 1
            try:
                if not self._streams.is_connected:
                    # Else nats-py would buffer a copy per try and send all of them.
                    left = max(give_up - loop.time(), 0.001)
                    await self._streams.wait_connected(left)
                if size > self._streams.nc.max_payload:
                    # Whether it is taken must not depend on what is in it.
                    raise nats.errors.MaxPayloadError
                said = await self._answers.publish(subject, body, sent, _TRY)
                is_repeat = bool(said.get("duplicate"))
                return PublishAck(said["stream"], said["seq"], is_repeat, tries)
            except Exception as exc:
                _raise_if_final(subject, exc)
                if loop.time() >= give_up:
                    raise UnavailableError("the stream does not answer") from exc
            wait = backoff(tries, most=timedelta(seconds=1))
            await asyncio.sleep(wait.total_seconds())


def _raise_if_final(subject: str, error: Exception) -> None:
    """Raises unless the same publish may work later."""
    match error:
        case nats.js.errors.APIError() if error.err_code in STREAM_FULL_CODES:
            raise StreamFullError(retry_after=_FULL_RETRY_AFTER) from error
        case nats.errors.ConnectionClosedError():
            raise UnavailableError("the NATS connection is closed") from error
        case nats.errors.MaxPayloadError():
            raise InvalidArgumentError("the message is too large") from error
        case (
            TimeoutError()
            | nats.js.errors.NoStreamResponseError()
            | nats.js.errors.ServiceUnavailableError()
            | nats.errors.OutboundBufferLimitError()
            | nats.errors.ConnectionReconnectingError()
            | nats.errors.StaleConnectionError()
            | OSError()
        ):
            return
        case nats.js.errors.APIError():
            raise StreamApiError(
                f"publish to {subject.partition('.')[0]}",
                error.code or 0,
                error.err_code or 0,
                error.description or "",
            ) from error
        case _:
            raise error
