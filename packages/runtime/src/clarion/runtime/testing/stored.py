"""What a stream holds."""

from __future__ import annotations

from collections.abc import AsyncIterator

from clarion.runtime.jetstream import Streams
from clarion.runtime.jetstream.dead_letters import StoredMessage, read_message


async def messages_of(
    streams: Streams, stream: str, subject: str = ">"
) -> AsyncIterator[StoredMessage]:
    """The messages of a subject, oldest first, as they were published."""
    after = 0
    while True:
        which = {"seq": after + 1, "next_by_subj": subject}
        message = await read_message(streams, stream, which)
        if message is None:
            return
        yield message
        after = message.sequence
