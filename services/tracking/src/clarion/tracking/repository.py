"""What the servicers read from the database."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg_pool import AsyncConnectionPool

from clarion.tracking import state
from clarion.tracking.analytics import PERIODS, Question
from clarion.tracking.database_errors import translated
from clarion.tracking.event_values import EPOCH, NO_ID
from clarion.tracking.page_token import Position
from clarion.tracking.queries import QUERIES
from clarion.tracking.state import Rule

_BREAKDOWN_SQL: Mapping[str, bytes] = {
    "channel": b"channel",
    "type": b"type",
    "category": b"category",
    "day": b"to_char(bucket AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
    "none": b"''::text",
}


@dataclass(frozen=True, slots=True)
class NotificationRow:
    """A stored notification."""

    notification_id: bytes
    accepted_time: datetime
    due_time: datetime | None
    mask: int
    """Facts and outcomes (state.py)."""
    user_id: str
    type: str
    category: str | None
    priority: str
    broadcast_id: bytes | None
    """The broadcast that it is a part of."""


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A stored delivery, or a channel without one."""

    notification_id: bytes
    delivery_id: bytes
    channel: str
    status: int
    reason: str
    status_time: datetime


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """A stored attempt."""

    notification_id: bytes
    delivery_id: bytes
    attempt: int
    outcome: int
    attempt_time: datetime
    provider: str
    reason: str
    provider_message_id: str
    provider_code: str
    provider_latency: int | None
    """Microseconds."""


@dataclass(frozen=True, slots=True)
class EventRow:
    """A stored event."""

    kind: int
    occurred_time: datetime
    channel: str
    delivery_id: bytes
    reason: str
    detail: bytes | None


@dataclass(frozen=True, slots=True)
class Filters:
    """Which notifications to list; empty ones filter nothing."""

    user_id: str = ""
    status: str = ""
    type: str = ""
    broadcast_id: str = ""

    @property
    def scope(self) -> tuple[str, ...]:
        """What a page token of such a list is bound to."""
        known = (self.user_id, self.status, self.type)
        # Without one it is what the release before has bound its tokens to.
        return (*known, self.broadcast_id) if self.broadcast_id else known


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Deliveries of the notifications that were accepted in a span."""

    notifications: int
    statuses: Mapping[int, int]
    oldest_waiting: Sequence[DeliveryRow]


class Repository:
    """Reads. Every method raises UnavailableError while the database does not serve."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def notification(
        self, tenant: str, notification_id: bytes
    ) -> NotificationRow | None:
        """One notification of the tenant's, or None."""
        parameters = {"tenant_id": tenant, "notification_id": notification_id.hex()}
        rows = await self._rows(QUERIES["notification"], parameters)
        return NotificationRow(*rows[0]) if rows else None

    async def deliveries(self, ids: Iterable[bytes]) -> list[DeliveryRow]:
        """What the notifications became, channel by channel."""
        found = await self._of("deliveries", ids)
        return [DeliveryRow(*row) for row in found]

    async def attempts(self, ids: Iterable[bytes]) -> list[AttemptRow]:
        """The notifications' attempts, in order."""
        return [AttemptRow(*row) for row in await self._of("attempts", ids)]

    async def timeline(self, row: NotificationRow) -> list[EventRow]:
        """The notification's events, oldest first."""
        parameters = {
            "notification_id": row.notification_id.hex(),
            # Clocks of different machines differ by less than this.
            "since": (row.accepted_time - timedelta(days=1)).date(),
        }
        rows = await self._rows(QUERIES["timeline"], parameters)
        return [EventRow(*row) for row in rows]

    async def list_notifications(
        self, tenant: str, filters: Filters, before: Position, limit: int
    ) -> list[NotificationRow]:
        """The newest first, from after ``before`` on.

        A broadcast's are all as old: they are in the order of their ids.
        """
        parameters = {
            "tenant_id": tenant,
            "before_time": EPOCH + timedelta(microseconds=before.accepted_time),
            "before_id": before.notification_id.hex(),
            "user_id": filters.user_id,
            "status": filters.status,
            "type": filters.type,
            "broadcast_id": filters.broadcast_id or None,
            "limit": limit,
        }
        # A person has one notification of a broadcast.
        is_page = filters.broadcast_id and not filters.user_id
        name = "list_of_broadcast" if is_page else "list_notifications"
        text = QUERIES[name].replace(b"{status}", _STATUS_SQL)
        return [NotificationRow(*row) for row in await self._rows(text, parameters)]

    async def broadcast_states(self, broadcast_id: bytes) -> list[tuple[int, int]]:
        """(facts and outcomes, how many of the broadcast's notifications have them)"""
        parameters = {"broadcast_id": broadcast_id.hex()}
        rows = await self._rows(QUERIES["broadcast_states"], parameters)
        return [(mask, number) for mask, number in rows]

    async def reconciliation(
        self, tenant: str, start: datetime, end: datetime, most: int
    ) -> Reconciliation:
        """The deliveries of what was accepted from start to end, by status."""
        parameters = {
            "tenant_id": tenant,
            "start": start,
            "end": end,
            "decided": int(state.Fact.DECIDED),
            "no_id": NO_ID.hex(),
            "pending": state.bits(*state.WAITING),
            "waiting": [int(status) for status in state.WAITING],
            "limit": most,
        }
        decided = await self._rows(QUERIES["count_decided"], parameters)
        statuses = await self._rows(QUERIES["count_deliveries"], parameters)
        waiting = await self._rows(QUERIES["oldest_waiting"], parameters)
        return Reconciliation(
            decided[0][0], dict(statuses), [DeliveryRow(*row) for row in waiting]
        )

    async def counters(
        self, tenant: str, question: Question, start: datetime, end: datetime
    ) -> list[tuple[str, str, int]]:
        """(metric, key of the breakdown, sum)"""
        parameters = {
            "tenant_id": tenant,
            "grain": PERIODS[question.period].grain.value,
            "start": start,
            "end": end,
            "metrics": list(question.metrics),
        }
        key = _BREAKDOWN_SQL[question.breakdown]
        rows = await self._rows(QUERIES["counters"].replace(b"{key}", key), parameters)
        return [(metric, word, number) for metric, word, number in rows]

    async def _of(self, name: str, ids: Iterable[bytes]) -> list[tuple[Any, ...]]:
        return await self._rows(
            QUERIES[name], {"notification_id": [id.hex() for id in ids]}
        )

    async def _rows(
        self, text: bytes, parameters: Mapping[str, object]
    ) -> list[tuple[Any, ...]]:
        with translated():
            async with (
                self._pool.connection() as connection,
                connection.cursor(binary=True) as cursor,
            ):
                used = {k: v for k, v in parameters.items() if _uses(text, k)}
                # Filters and spans differ too much for one plan to fit all.
                await cursor.execute(text, used, prepare=False)
                return await cursor.fetchall()


def status_sql(rules: Collection[Rule] = state.RULES) -> str:
    """The rules of ``state.notification_status`` as an SQL expression."""
    cases: list[str] = []
    for rule in rules:
        terms = [f"(facts | outcomes) & {int(some)} <> 0" for some in rule.every]
        if rule.never:
            terms.append(f"(facts | outcomes) & {int(rule.never)} = 0")
        cases.append(f"WHEN {' AND '.join(terms) or 'true'} THEN '{rule.status}'")
    return f"(CASE {' '.join(cases)} END)"


def _uses(text: bytes, name: str) -> bool:
    return f"%({name})s".encode() in text


_STATUS_SQL = status_sql().encode()
