"""Publishing what happened, from where it happens one by one."""

from __future__ import annotations

from datetime import timedelta

from clarion.runtime.jetstream.group_publisher import GroupPublisher
from clarion.runtime.jetstream.ports import Publisher
from clarion.runtime.streams import events_subject

SPACING = timedelta(milliseconds=20)
"""Results of providers and receipts come one by one, and each message costs the stream
a sync and tracking a transaction; what is tracked may be 20 ms behind."""


def event_publisher(publisher: Publisher, service: str) -> GroupPublisher[bytes]:
    """For the events of a service; an item is an encoded EventChunk.

    Such chunks are joined by concatenation.
    """
    return GroupPublisher(publisher, events_subject(service), b"".join, spacing=SPACING)
