"""Publishing at a later time: JetStream message schedules on SCHED."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING

from clarion.runtime import streams as table
from clarion.runtime.jetstream.errors import StreamApiError

if TYPE_CHECKING:
    from clarion.runtime.jetstream.connection import Streams

_TTL = f"{int(table.FIRED_TTL.total_seconds())}s"
_NO_MESSAGE = 10037


class JetStreamScheduler:
    """The Scheduler port on a JetStream connection.

    The server removes the message id when it fires: what arrives has none, so the
    body must carry an identity. Firing is at least once.
    """

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    async def schedule(
        self,
        subject: str,
        *,
        target: str,
        due: datetime,
        body: bytes,
        message_id: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """See the Scheduler port."""
        timing = schedule_headers(target, due)
        at = timing["Nats-Schedule"].removeprefix("@at ")
        sent = {**(headers or {}), **timing}
        # A known id is answered "duplicate" and changes nothing, whatever its subject:
        # so all that makes this version of this schedule is in the id.
        version = _version(message_id, subject, at, body)
        publisher = self._streams.publisher
        ack = await publisher.publish_acked(
            subject, body, message_id=version, headers=sent
        )
        # A first try that is a duplicate was sent by an earlier call. If nothing is
        # there, that one was cancelled or replaced (purges do not forget ids) or has
        # fired; firing twice is folded by the receiver, losing it would not be.
        if ack.duplicate and ack.tries == 1 and not await self._is_there(ack.sequence):
            await publisher.publish_acked(
                subject, body, message_id=f"{version}+{ack.sequence}", headers=sent
            )

    async def cancel(self, subject: str) -> int:
        """See the Scheduler port."""
        answer = await self._streams.js.request(
            f"STREAM.PURGE.{table.SCHED}", {"filter": subject}
        )
        return int(answer.get("purged", 0))

    async def _is_there(self, sequence: int) -> bool:
        try:
            await self._streams.js.request(
                f"STREAM.MSG.GET.{table.SCHED}", {"seq": sequence}
            )
        except StreamApiError as exc:
            if exc.err_code == _NO_MESSAGE:
                return False
            raise
        return True


def schedule_headers(target: str, due: datetime) -> dict[str, str]:
    """What makes a message of SCHED a schedule, to the millisecond."""
    at = due.astimezone(UTC).isoformat(timespec="milliseconds")
    return {
        "Nats-Schedule": f"@at {at.replace('+00:00', 'Z')}",
        "Nats-Schedule-Target": target,
        "Nats-Schedule-TTL": _TTL,
    }


def _version(message_id: str, subject: str, at: str, body: bytes) -> str:
    digest = blake2b(f"{subject} {at} ".encode(), digest_size=8)
    digest.update(body)
    return f"{message_id}@{digest.hexdigest()}"
