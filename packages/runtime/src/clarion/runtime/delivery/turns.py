"""Ordered deliveries: which are over, and when one that is held back looks again. Pure.

Whoever is held back polls: it is not known beforehand when those in front are over, and
nobody has to be there to wake it up.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.runtime import chunks, streams
from clarion.runtime.delivery.attempts import Verdict
from clarion.runtime.delivery.claims import ClaimState
from clarion.runtime.delivery.entry import Entry
from clarion.runtime.jetstream.ports import Scheduler
from clarion.runtime.retry import ceiling

FIRST_LOOK = timedelta(milliseconds=50)
LONGEST_LOOK = timedelta(seconds=30)

_OVER = frozenset(
    {
        ClaimState.DONE,
        ClaimState.CANCELLED,
        ClaimState.SUPPRESSED,
        ClaimState.SUPERSEDED,
        ClaimState.EXPIRED,
    }
)


def is_over(entry: Entry) -> bool:
    """Whether nothing more comes of a delivery that was dealt with."""
    if entry.outcome is None:
        return entry.claim.state in _OVER
    return entry.verdict is not Verdict.AGAIN


def wait_for(waits: int, ahead: int) -> timedelta:
    """How long one waits that has looked so often since somebody made room.

    50 ms for each that is in front, doubled with every look, at most 30 s.
    """
    first = min(FIRST_LOOK * max(ahead, 1), LONGEST_LOOK)
    return ceiling(waits + 1, first=first, most=LONGEST_LOOK)


async def look_later(scheduler: Scheduler, channel: str, entry: Entry) -> None:
    """Stores a delivery that is held back until it looks again; no attempt was made."""
    job, ahead = entry.job, entry.claim.ahead
    is_nearer = ahead < job.order_ahead
    waits = 0 if is_nearer else job.order_waits
    due = entry.at + wait_for(waits, ahead)
    if job.HasField("expires_time"):
        # Back in time to be told as expired.
        due = min(due, job.expires_time.ToDatetime(due.tzinfo))
    later = DeliveryJob()
    later.CopyFrom(job)
    later.order_waits, later.order_ahead = waits + 1, ahead
    await scheduler.schedule(
        streams.later_subject(
            "ordered", job.tenant_id, f"{job.delivery_id}-{entry.attempt}"
        ),
        target=streams.due_subject(channel, entry.lane),
        due=due,
        body=chunks.join((later.SerializeToString(),)),
        message_id=f"ordered:{job.delivery_id}:{entry.attempt}:{_micros(entry.at)}",
    )


def _micros(at: datetime) -> int:
    return int(at.timestamp() * 1e6)
