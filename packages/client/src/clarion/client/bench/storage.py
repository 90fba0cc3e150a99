"""What a notification leaves behind: bytes in PostgreSQL, Valkey and the streams."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from clarion.client.bench.queues import Queues
from clarion.client.bench.tally import Tracked


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes held at one moment."""

    event_log: int
    """Tables and indexes of tracking's events, kept for
    CLARION_TRACKING_EVENT_RETENTION_DAYS"""
    records: int
    """Its other tables, kept for CLARION_TRACKING_RECORD_RETENTION_DAYS."""
    write_ahead_log: int
    """Written since the server was made."""
    valkey: int
    events: int
    """The stream of events, which keeps them for days."""

    def per_notification(self, before: Stored, count: int) -> dict[str, float]:
        """What came since then, for each of so many notifications."""
        return {
            name: round((getattr(self, name) - getattr(before, name)) / max(count, 1))
            for name in (field.name for field in fields(self))
        }


async def stored(tracked: Tracked, queues: Queues, valkey_url: str) -> Stored:
    """Looks at all of them."""
    from redis.asyncio import Redis

    redis: Any = Redis.from_url(valkey_url)
    try:
        memory = await redis.info("memory")
    finally:
        await redis.aclose()
    event_log, records, log = await tracked.sizes()
    return Stored(
        event_log,
        records,
        log,
        int(memory["used_memory"]),
        await queues.stream_bytes("EVENTS"),
    )
