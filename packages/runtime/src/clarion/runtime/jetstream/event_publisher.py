"""Publishing what happened, from where it happens one by one."""

from __future__ import annotations

from datetime import timedelta

from clarion.runtime.jetstream.group_publisher import GroupPublisher
from clarion.runtime.jetstream.ports import Publisher
from clarion.runtime.streams import events_subject

SPACING = timedelta(milliseconds=20)
"""What people do comes one by one, and each message costs the stream a sync and its
reader a call; what is tracked may be behind by as much."""
RESULTS_SPACING = timedelta(milliseconds=100)
"""Of results of deliveries and receipts, which no person waits for. A message costs its
publisher, the stream and tracking what 60 events do."""
_WORTH_BYTES = 64 * 1024
"""Events that are worth a message, however soon after the one before."""


def event_publisher(
    publisher: Publisher, service: str, *, spacing: timedelta = SPACING
) -> GroupPublisher[bytes]:
    """For the events of a service; an item is an encoded EventChunk.

    Such chunks are joined by concatenation.
    """
    return GroupPublisher(
        publisher,
        events_subject(service),
        b"".join,
        spacing=spacing,
        worth_bytes=_WORTH_BYTES,
    )
