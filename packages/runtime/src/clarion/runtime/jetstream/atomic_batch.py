"""Several messages of one stream stored together: one sync to disk for all of them.

By hand, as nats-py has no call for it (ADR-50 of the server): the first and the last
message are requests, those in between are not answered.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import nats.errors

if TYPE_CHECKING:
    from clarion.runtime.jetstream.connection import Streams

MOST_MESSAGES = 500
"""Half of what the server takes."""
_TRY = 3.0

Message = tuple[str, bytes, Mapping[str, str]]
"""Subject, body, headers."""


class BatchError(Exception):
    """The batch was not stored, or nobody knows: store each message by itself."""


async def publish_batch(streams: Streams, messages: Sequence[Message]) -> None:
    """Stores all of the messages or none. Raises BatchError."""
    nc = streams.nc
    batch_id = uuid.uuid4().hex
    last = len(messages)
    try:
        for number, (subject, body, headers) in enumerate(messages, 1):
            sent = {
                **headers,
                "Nats-Batch-Id": batch_id,
                "Nats-Batch-Sequence": str(number),
            }
            if number == last:
                sent["Nats-Batch-Commit"] = "1"
            if number not in (1, last):
                await nc.publish(subject, body, headers=sent)
                continue
            reply = await nc.request(subject, body, timeout=_TRY, headers=sent)
            answer = json.loads(reply.data) if reply.data else {}
            if "error" in answer or (number == last and "seq" not in answer):
                raise BatchError(str(answer.get("error", "no answer to the commit")))
    except (TimeoutError, nats.errors.Error, OSError, ValueError) as error:
        raise BatchError(type(error).__name__) from error
