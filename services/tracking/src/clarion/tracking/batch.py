"""A batch of events folded to one row for each thing they are about. Pure.

The writer stores a batch with a few statements, however many events it has: what
several events of a batch say about one delivery is merged here, so each row is written
once a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b

from clarion.api.event.v1 import notification_event_pb2 as event_pb2
from clarion.api.router.v1 import decision_pb2
from clarion.runtime.caller import is_tenant
from clarion.tracking import analytics, state
from clarion.tracking.event_values import (
    CODE_LENGTH,
    NO_ID,
    REASON_LENGTH,
    MalformedEventError,
    clean,
    micros,
    micros_long,
    micros_of,
    uuid_bytes,
)
from clarion.tracking.state import Claim, Fact

_DECIDED = event_pb2.EVENT_KIND_DECIDED
_WITH_ATTEMPT = frozenset(state.ATTEMPT_OUTCOMES)
_AHEAD = timedelta(days=2)

DeliveryKey = tuple[bytes, bytes, str]
"""(notification, delivery or NO_ID, channel)"""
AttemptRow = tuple[int, int, str, str, str, str, int | None]
"""(outcome, time, provider, reason, provider's message id and code, latency)"""
Count = tuple[int, str, str, int]
"""(position of the event, metric, channel, how many)"""


@dataclass(slots=True)
class EventColumns:
    """The events, a list for each column."""

    notification_id: list[bytes] = field(default_factory=list)
    event_id: list[bytes] = field(default_factory=list)
    tenant_id: list[str] = field(default_factory=list)
    kind: list[int] = field(default_factory=list)
    occurred_time: list[int] = field(default_factory=list)
    channel: list[str] = field(default_factory=list)
    delivery_id: list[bytes] = field(default_factory=list)
    type: list[str] = field(default_factory=list)
    reason: list[str] = field(default_factory=list)
    detail: list[bytes | None] = field(default_factory=list)


@dataclass(slots=True)
class NotificationRow:
    """What the batch says about one notification."""

    tenant_id: str
    user_id: str
    type: str
    accepted_time: int
    """A guess (the earliest event) unless ``facts`` has ACCEPTED."""
    facts: int = 0
    category: str | None = None
    priority: str = ""
    due_time: int | None = None

    def accepted(self, at: int) -> None:
        """Takes over an acceptance time that an event carried."""
        if not self.facts & Fact.ACCEPTED or at < self.accepted_time:
            self.accepted_time = at
        self.facts |= Fact.ACCEPTED


@dataclass(frozen=True, slots=True)
class Rejected:
    """An event that cannot be stored as what it claims to be."""

    digest: bytes
    problem: str
    body: bytes


class Batch:
    """Add events, then let the writer have it.

    Events from before ``now - history`` or from the future are rejected: their day has
    no partition, and a wrong clock must not make one.
    """

    def __init__(self, now: datetime, history: timedelta) -> None:
        self._now, self._history = now, history
        self._sources: list[event_pb2.NotificationEvent] = []
        self.events = EventColumns()
        self.notifications: dict[bytes, NotificationRow] = {}
        self.deliveries: dict[DeliveryKey, Claim] = {}
        self.attempts: dict[tuple[bytes, bytes, int], AttemptRow] = {}
        self.counts: list[Count] = []
        self.rejected: list[Rejected] = []
        self._seen: set[bytes] = set()
        self._oldest = micros_of(now - history)
        self._newest = micros_of(now + _AHEAD)

    def __len__(self) -> int:
        return len(self.events.event_id)

    def add_all(self, events: Iterable[event_pb2.NotificationEvent]) -> None:
        """Adds events; one that is malformed is put aside and stops no other."""
        for event in events:
            try:
                self._add(event)
            except MalformedEventError as malformed:
                body = event.SerializeToString(deterministic=True)
                digest = blake2b(body, digest_size=16).digest()
                self.rejected.append(Rejected(digest, str(malformed), body))

    def without(self, positions: Set[int]) -> Batch:
        """A batch of the other events alone: those at the positions say nothing."""
        rest = Batch(self._now, self._history)
        for position, event in enumerate(self._sources):
            if position not in positions:
                rest._add(event)
        return rest

    def _add(self, event: event_pb2.NotificationEvent) -> None:
        event_id = uuid_bytes(event.event_id, "event_id")
        if event_id in self._seen:
            return
        notification_id = uuid_bytes(event.notification_id, "notification_id")
        delivery = event.delivery_id
        delivery_id = uuid_bytes(delivery, "delivery_id") if delivery else NO_ID
        occurred = micros(event.occurred_time)
        self._check(event, occurred)
        channel, reason = clean(event.channel), clean(event.reason, REASON_LENGTH)
        kind, type_ = event.kind, clean(event.type)
        # The last thing that may be refused: from here on the batch is changed.
        plans = _plans(event.decided.decision) if kind == _DECIDED else []
        row = self._notification(notification_id, event, type_, occurred)
        position = len(self.events.event_id)
        detail = None
        if kind == _DECIDED:
            detail = self._decided(event, row, plans, position)
        else:
            self._happened(kind, channel, row, position)
            step = state.KIND_STEPS.get(kind)
            number = 0
            if kind in _WITH_ATTEMPT and event.HasField("attempt"):
                number = min(event.attempt.attempt, 32_767) or 1
                if delivery:
                    key = (notification_id, delivery_id, number)
                    self._attempt(key, kind, occurred, reason, event.attempt)
            elif event.HasField("postponed"):
                detail = self._postponed(event.postponed, row)
            elif event.HasField("receipt"):
                detail = event.receipt.SerializeToString()
            if step is not None and channel:
                made = state.claim(step, reason, occurred, number)
                self._merge((notification_id, delivery_id, channel), made)
        self._seen.add(event_id)
        self._sources.append(event)
        to = self.events
        to.notification_id.append(notification_id)
        to.event_id.append(event_id)
        to.tenant_id.append(row.tenant_id)
        to.kind.append(kind)
        to.occurred_time.append(occurred)
        to.channel.append(channel)
        to.delivery_id.append(delivery_id)
        to.type.append(type_)
        to.reason.append(reason)
        to.detail.append(detail)

    def _check(self, event: event_pb2.NotificationEvent, occurred: int) -> None:
        if not is_tenant(event.tenant_id):
            raise MalformedEventError("tenant_id is not a tenant")
        if not 0 < event.kind < 32_768:
            raise MalformedEventError("kind is not set")
        if event.delivery_id and not event.channel:
            raise MalformedEventError("a delivery without its channel")
        if not self._oldest <= occurred <= self._newest:
            raise MalformedEventError("occurred_time is not within the kept days")

    def _notification(
        self,
        notification_id: bytes,
        event: event_pb2.NotificationEvent,
        type_: str,
        occurred: int,
    ) -> NotificationRow:
        row = self.notifications.get(notification_id)
        if row is None:
            user_id = clean(event.user_id)
            row = NotificationRow(event.tenant_id, user_id, type_, occurred)
            self.notifications[notification_id] = row
            return row
        if occurred < row.accepted_time and not row.facts & Fact.ACCEPTED:
            row.accepted_time = occurred
        row.user_id = row.user_id or clean(event.user_id)
        row.type = row.type or type_
        return row

    def _happened(
        self, kind: int, channel: str, row: NotificationRow, position: int
    ) -> None:
        fact = state.KIND_FACTS.get(kind)
        if fact is not None and not channel:
            row.facts |= fact
        metric = analytics.KIND_METRICS.get(kind)
        if metric is not None:
            self.counts.append((position, metric, channel, 1))

    def _decided(
        self,
        event: event_pb2.NotificationEvent,
        row: NotificationRow,
        plans: list[list[bytes]],
        position: int,
    ) -> bytes:
        decided = event.decided
        occurred = micros(event.occurred_time)
        notification_id = uuid_bytes(event.notification_id, "notification_id")
        decision, asked = decided.decision, decided.notification
        row.facts |= Fact.DECIDED
        category = decision.category or asked.category or row.type
        row.category = row.category or clean(category)
        row.priority = row.priority or clean(decision.priority or asked.priority)
        row.user_id = row.user_id or clean(asked.user_id)
        is_timed = decided.HasField("accepted_time")
        row.accepted(micros(decided.accepted_time) if is_timed else occurred)
        for choice, plan in zip(decision.channels, plans, strict=True):
            channel, outcome = clean(choice.channel), choice.outcome
            step = state.OUTCOME_STEPS.get(outcome)
            if step is None or not channel:
                continue  # a newer router's word: kept in the detail
            made = state.claim(step, clean(choice.reason, REASON_LENGTH), occurred)
            planned = plan if outcome == "planned" else ()
            for delivery_id in planned or (NO_ID,):
                self._merge((notification_id, delivery_id, channel), made)
            if choice.HasField("release_time"):
                self._due(row, micros(choice.release_time))
            metric = analytics.OUTCOME_METRICS.get(outcome)
            if metric is not None:
                self.counts.append((position, metric, channel, len(planned) or 1))
        return decided.SerializeToString()

    def _postponed(self, postponed: event_pb2.Postponed, row: NotificationRow) -> bytes:
        row.user_id = row.user_id or clean(postponed.notification.user_id)
        row.priority = row.priority or clean(postponed.notification.priority)
        if postponed.HasField("accepted_time"):
            row.accepted(micros(postponed.accepted_time))
        if postponed.HasField("due_time"):
            self._due(row, micros(postponed.due_time))
        return postponed.SerializeToString()

    @staticmethod
    def _due(row: NotificationRow, at: int) -> None:
        row.due_time = at if row.due_time is None else max(at, row.due_time)

    def _attempt(
        self,
        key: tuple[bytes, bytes, int],
        kind: int,
        occurred: int,
        reason: str,
        attempt: event_pb2.Attempt,
    ) -> None:
        latency = None
        if attempt.HasField("provider_latency"):
            latency = micros_long(attempt.provider_latency)
        row = (
            state.ATTEMPT_OUTCOMES[kind],
            occurred,
            clean(attempt.provider),
            reason,
            clean(attempt.provider_message_id, CODE_LENGTH),
            clean(attempt.provider_code, CODE_LENGTH),
            latency,
        )
        known = self.attempts.get(key)
        if known is None or row[:2] > known[:2]:
            self.attempts[key] = row

    def _merge(self, key: DeliveryKey, made: Claim) -> None:
        known = self.deliveries.get(key)
        if known is None or made > known:
            self.deliveries[key] = made


def _plans(decision: decision_pb2.DecisionTrace) -> list[list[bytes]]:
    """The ids of the planned deliveries, channel by channel."""
    return [
        [uuid_bytes(plan.delivery_id, "delivery_id") for plan in choice.deliveries]
        for choice in decision.channels
    ]
