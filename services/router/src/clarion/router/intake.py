"""The consumers of a lane at intake or of a part of its overflow: how much at once."""

from __future__ import annotations

from datetime import timedelta

from clarion.router.consumers import IntakeHandler
from clarion.router.settings import Settings
from clarion.runtime.jetstream import Consumer, Streams
from clarion.runtime.streams import (
    INTAKE,
    INTAKE_ACK_WAIT,
    LANES,
    SCHED,
    durable_name,
    stream_of,
)

FIRED_GATHER = timedelta(milliseconds=50)
"""What fires meanwhile is one batch: it fires one by one, and a batch is a sync."""
FIRED_AT_ONCE = 32
"""Batches of what fired under way: most of them only wait for their plans."""
OVERFLOW_FIRED_AT_ONCE = 8
"""The same of each part of an overflow."""
MOST_FIRED = 256
"""Messages of one batch that fired: each is a single notification."""
MOST_PREFETCHED = 1024
ROUTE_PATIENCE = timedelta(milliseconds=50)
"""How long little waits for the batch that is being routed, to share the next one: a
batch is three calls and five publishes, however small it is."""
MOST_BATCH_BYTES = 640 * 1024
"""Of one batch, encoded: more would only be decoded together and then wait."""


def intake_consumers(
    streams: Streams,
    part: str,
    accepted: IntakeHandler,
    fired: IntakeHandler,
    settings: Settings,
) -> tuple[Consumer, Consumer]:
    """Of what was accepted in a flow or part of one, and of what fired."""
    return (
        Consumer(
            streams,
            stream=stream_of(INTAKE),
            durable=durable_name(INTAKE, part),
            handle=accepted,
            given_up=accepted.given_up,
            concurrency=settings.route_concurrency,
            max_messages=settings.route_messages,
            max_bytes=MOST_BATCH_BYTES,
            patience=ROUTE_PATIENCE,
            ack_wait=INTAKE_ACK_WAIT,
        ),
        Consumer(
            streams,
            stream=SCHED,
            durable=durable_name(INTAKE, part),
            handle=fired,
            concurrency=FIRED_AT_ONCE if part in LANES else OVERFLOW_FIRED_AT_ONCE,
            max_messages=MOST_FIRED,
            max_bytes=MOST_BATCH_BYTES,
            prefetch=MOST_PREFETCHED,
            gather=FIRED_GATHER,
            ack_wait=INTAKE_ACK_WAIT,
        ),
    )
