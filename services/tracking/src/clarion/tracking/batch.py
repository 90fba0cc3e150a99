"""A batch of events folded to a story for each notification they are about. Pure.

The writer stores a batch with a few statements, however many events it has: what
several events of a batch say about one notification is merged here, so each row is
written once a batch.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
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
from clarion.tracking.state import Fact
from clarion.tracking.story import ACCEPTED, Attempt, Story

_DECIDED = event_pb2.EVENT_KIND_DECIDED
_WITH_ATTEMPT = frozenset(state.ATTEMPT_OUTCOMES)
_KIND_FACTS = {kind: int(fact) for kind, fact in state.KIND_FACTS.items()}
_DECIDED_FACT = int(Fact.DECIDED)
_CHAIN_FACT = int(Fact.CHAIN)
_MOST_ATTEMPTS = 32_767
_AHEAD = timedelta(days=2)

EventRow = tuple[bytes, bytes, int, bytes, int, str, str, str, str, bytes | None]
"""(notification, event, occurred_time, delivery or NO_ID, kind, tenant, channel, type,
reason, detail)"""
Count = tuple[int, str, str, int]
"""(position of the event, metric, channel, how many)"""


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
        self._chunks: list[bytes] = []
        self.events: list[EventRow] = []
        self.stories: dict[bytes, Story] = {}
        self.counts: list[Count] = []
        self.rejected: list[Rejected] = []
        self._seen: set[bytes] = set()
        self._oldest = micros_of(now - history)
        self._newest = micros_of(now + _AHEAD)
        self._names = _Names()
        self._tenants: set[str] = set()

    def __len__(self) -> int:
        return len(self.events)

    def add(self, chunk: bytes) -> None:
        """Adds the events of an EventChunk; a malformed one is put aside.

        Raises DecodeError for anything else. What is kept is the bytes: the messages
        of thousands of events would each have to be fetched from cold memory.
        """
        events = event_pb2.EventChunk.FromString(chunk).events
        self._chunks.append(chunk)
        for event in events:
            try:
                self._add(event)
            except MalformedEventError as malformed:
                body = event.SerializeToString(deterministic=True)
                digest = blake2b(body, digest_size=16).digest()
                self.rejected.append(Rejected(digest, str(malformed), body))

    def without(self, event_ids: Set[bytes]) -> Batch:
        """A batch of the other events alone: those with the ids say nothing."""
        rest = Batch(self._now, self._history)
        rest._seen |= event_ids
        for chunk in self._chunks:
            rest.add(chunk)
        return rest

    def _add(self, event: event_pb2.NotificationEvent) -> None:
        event_id = uuid_bytes(event.event_id, "event_id")
        if event_id in self._seen:
            return
        id = uuid_bytes(event.notification_id, "notification_id")
        delivery, channel = event.delivery_id, self._names[event.channel]
        delivery_id = uuid_bytes(delivery, "delivery_id") if delivery else NO_ID
        tenant, kind, at = event.tenant_id, event.kind, micros(event.occurred_time)
        if tenant not in self._tenants:
            self._admit(tenant)
        if not (0 < kind < 32_768 and self._oldest <= at <= self._newest):
            raise MalformedEventError(_problem(kind))
        if delivery and not channel:
            raise MalformedEventError("a delivery without its channel")
        type_, reason, detail = self._names[event.type], event.reason, None
        if reason:
            reason = clean(reason, REASON_LENGTH)
        if kind == _DECIDED:
            # The last thing that may be refused: from here on the batch is changed.
            decided = event.decided
            choices, broadcast_id = _choices(decided.decision), _broadcast(decided)
            story = self._story(id, event, type_, at)
            story.broadcast_id = story.broadcast_id or broadcast_id
            self._decided(decided, story, choices, at)
            detail = decided.SerializeToString()
        else:
            story = self._story(id, event, type_, at)
            if not channel:
                story.facts |= _KIND_FACTS.get(kind, 0)
            metric = analytics.KIND_METRICS.get(kind)
            if metric is not None:
                self.counts.append((len(self.events), metric, channel, 1))
            number = 0
            if kind in _WITH_ATTEMPT and event.HasField("attempt"):
                number = min(event.attempt.attempt, _MOST_ATTEMPTS) or 1
                if delivery:
                    made = self._attempt(event.attempt, kind, at, reason)
                    story.attempt((delivery_id, number), made)
            else:
                detail = self._detail(event, story)
            step = state.KIND_STEPS.get(kind)
            if step is not None and channel:
                claim = state.claim(step, reason, at, number)
                story.claim((delivery_id, channel), claim)
        self._seen.add(event_id)
        story.event_ids += event_id
        told = (kind, story.tenant_id, channel, type_, reason, detail)
        self.events.append((id, event_id, at, delivery_id, *told))

    def _admit(self, tenant: str) -> None:
        if not is_tenant(tenant):
            raise MalformedEventError("tenant_id is not a tenant")
        self._tenants.add(tenant)

    def _story(
        self, id: bytes, event: event_pb2.NotificationEvent, type_: str, at: int
    ) -> Story:
        story = self.stories.get(id)
        if story is None:
            tenant, user_id = self._names[event.tenant_id], clean(event.user_id)
            story = self.stories[id] = Story(tenant, user_id, type_, at)
            return story
        if at < story.accepted_time and not story.facts & ACCEPTED:
            story.accepted_time = at
        if not story.user_id:
            story.user_id = clean(event.user_id)
        if not story.type:
            story.type = type_
        return story

    def _decided(
        self,
        decided: event_pb2.Decided,
        story: Story,
        choices: Sequence[tuple[decision_pb2.ChannelDecision, list[bytes]]],
        at: int,
    ) -> None:
        decision, position = decided.decision, len(self.events)
        story.facts |= _DECIDED_FACT
        if decision.strategy in state.CHAINS:
            story.facts |= _CHAIN_FACT
        if not story.category:
            category = decision.category or decided.notification.category
            story.category = self._names[category or story.type]
        if not story.priority:
            priority = decision.priority or decided.notification.priority
            story.priority = self._names[priority]
        if not story.user_id:
            story.user_id = clean(decided.notification.user_id)
        is_timed = decided.HasField("accepted_time")
        story.accepted(micros(decided.accepted_time) if is_timed else at)
        for choice, plan in choices:
            channel, outcome = self._names[choice.channel], choice.outcome
            step = state.OUTCOME_STEPS.get(outcome)
            if step is None or not channel:
                continue  # a newer router's word: kept in the detail
            made = state.claim(step, clean(choice.reason, REASON_LENGTH), at)
            planned = plan if outcome == "planned" else ()
            for delivery_id in planned or (NO_ID,):
                story.claim((delivery_id, channel), made)
            # Of a digest the decision knows only the latest that it could be.
            if choice.HasField("release_time") and outcome != "digested":
                story.due(micros(choice.release_time))
            metric = analytics.OUTCOME_METRICS.get(outcome)
            if metric is not None:
                self.counts.append((position, metric, channel, len(planned) or 1))

    @staticmethod
    def _detail(event: event_pb2.NotificationEvent, story: Story) -> bytes | None:
        if event.HasField("receipt"):
            return event.receipt.SerializeToString()
        if event.HasField("digested"):
            if event.digested.HasField("closes_time"):
                story.due(micros(event.digested.closes_time))
            return event.digested.SerializeToString()
        if event.HasField("spread"):
            return event.spread.SerializeToString()
        if not event.HasField("postponed"):
            return None
        postponed = event.postponed
        story.user_id = story.user_id or clean(postponed.notification.user_id)
        story.priority = story.priority or clean(postponed.notification.priority)
        if postponed.HasField("accepted_time"):
            story.accepted(micros(postponed.accepted_time))
        if postponed.HasField("due_time"):
            story.due(micros(postponed.due_time))
        return postponed.SerializeToString()

    def _attempt(
        self, attempt: event_pb2.Attempt, kind: int, at: int, reason: str
    ) -> Attempt:
        latency = None
        if attempt.HasField("provider_latency"):
            latency = micros_long(attempt.provider_latency)
        code = attempt.provider_code
        return (
            state.ATTEMPT_OUTCOMES[kind],
            at,
            self._names[attempt.provider],
            reason,
            clean(attempt.provider_message_id, CODE_LENGTH),
            clean(code, CODE_LENGTH) if code else "",
            latency,
        )


def _problem(kind: int) -> str:
    if 0 < kind < 32_768:
        return "occurred_time is not within the kept days"
    return "kind is not set"


class _Names(dict[str, str]):
    """Texts as they are stored; one object for all that are equal."""

    def __missing__(self, text: str) -> str:
        made = self[text] = clean(text)
        return made


def _broadcast(decided: event_pb2.Decided) -> bytes | None:
    """The broadcast that made the notification, where one did."""
    id = decided.broadcast_id
    return uuid_bytes(id, "broadcast_id") if id else None


def _choices(
    decision: decision_pb2.DecisionTrace,
) -> list[tuple[decision_pb2.ChannelDecision, list[bytes]]]:
    """What was decided channel by channel, with the ids of the planned deliveries."""
    return [
        (
            choice,
            [uuid_bytes(plan.delivery_id, "delivery_id") for plan in choice.deliveries],
        )
        for choice in decision.channels
    ]
