"""Why a notification was or was not sent, put together from what was stored. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from clarion.api.event.v1 import notification_event_pb2 as event_pb2
from clarion.api.router.v1.decision_pb2 import DecisionTrace, RuleOutcome
from clarion.api.tracking.v1 import tracking_service_pb2 as tracking_pb2
from clarion.tracking import records, state
from clarion.tracking.event_values import uuid_text
from clarion.tracking.repository import (
    AttemptRow,
    DeliveryRow,
    EventRow,
    NotificationRow,
)
from clarion.tracking.summaries import of_channel, of_notification

_K = event_pb2.EventKind
_RECEIPTS = frozenset(
    {
        _K.EVENT_KIND_DELIVERED,
        _K.EVENT_KIND_UNDELIVERED,
        _K.EVENT_KIND_OPENED,
        _K.EVENT_KIND_CLICKED,
        _K.EVENT_KIND_READ,
        _K.EVENT_KIND_COMPLAINED,
        _K.EVENT_KIND_UNSUBSCRIBED,
    }
)
# What is told by the decisions themselves.
_DECISIONS = frozenset({_K.EVENT_KIND_DECIDED, _K.EVENT_KIND_DEFERRED})
# Of a decision that carries no rules, as the router leaves out what is always the same.
_DEFAULTS = RuleOutcome(
    rule="defaults",
    outcome="pass",
    detail="every rule was passed: neither the person nor the type had said anything",
)
# Of a channel with several devices the best one speaks: what arrived, else what still
# may, else what waits, else what is over.
_BEST_FIRST = (state.GOOD, state.bits(*state.WAITING), state.PUT_OFF)


def explanation(
    row: NotificationRow,
    deliveries: Sequence[DeliveryRow],
    attempts: Sequence[AttemptRow],
    events: Sequence[EventRow],
) -> tracking_pb2.ExplainNotificationResponse:
    """The answer, from the rows of one notification; the events oldest first."""
    record = records.summary(row, deliveries, attempts)
    records.add_events(record, events)
    decisions = _decisions(events)
    answer = tracking_pb2.ExplainNotificationResponse(
        notification_id=record.notification_id,
        status=record.status,
        user_id=record.user_id,
        type=record.type,
        category=record.category,
        priority=record.priority,
        decisions=decisions,
        timeline=[
            entry
            for entry, event in zip(record.timeline, events, strict=True)
            if not event.channel and event.kind not in _DECISIONS
        ],
    )
    for name in ("accepted_time", "due_time", "request", "broadcast"):
        if record.HasField(name):
            getattr(answer, name).CopyFrom(getattr(record, name))
    by_delivery: dict[str, list[EventRow]] = defaultdict(list)
    for event in events:
        by_delivery[uuid_text(event.delivery_id)].append(event)
    parts = _by_channel(record.deliveries, decisions)
    for channel, own in parts.items():
        part = answer.channels.add(channel=channel)
        part.verdicts.extend(_verdicts(channel, decisions))
        devices = _devices(channel, decisions)
        for delivery in own:
            if delivery.delivery_id:
                one = part.deliveries.add(
                    delivery=delivery, device_id=devices.get(delivery.delivery_id, "")
                )
                happened = by_delivery[delivery.delivery_id]
                one.receipts.extend(_receipts(happened))
                one.dead_letters.extend(_dead_letters(happened))
        best = min(own, key=_rank, default=None)
        if best is not None:
            part.status, part.reason = best.status, best.reason
        elif part.verdicts:
            last = part.verdicts[-1].decision
            part.status, part.reason = last.outcome, last.reason
        part.summary = of_channel(part)
    answer.summary = of_notification(answer)
    return answer


def _decisions(events: Iterable[EventRow]) -> list[DecisionTrace]:
    found = [
        event_pb2.Decided.FromString(event.detail).decision
        for event in events
        if event.kind == _K.EVENT_KIND_DECIDED and event.detail is not None
    ]
    # Events may come with the clocks of several machines; releases are in order.
    return sorted(found, key=lambda decision: decision.release)


def _by_channel(
    deliveries: Iterable[tracking_pb2.DeliveryRecord],
    decisions: Iterable[DecisionTrace],
) -> dict[str, list[tracking_pb2.DeliveryRecord]]:
    """The records of each channel, the channels in the order of the request."""
    parts: dict[str, list[tracking_pb2.DeliveryRecord]] = {
        decided.channel: [] for decision in decisions for decided in decision.channels
    }
    for record in deliveries:
        parts.setdefault(record.channel, []).append(record)
    return parts


def _verdicts(
    channel: str, decisions: Iterable[DecisionTrace]
) -> Iterable[tracking_pb2.ChannelVerdict]:
    for decision in decisions:
        for decided in decision.channels:
            if decided.channel == channel:
                yield tracking_pb2.ChannelVerdict(
                    release=decision.release,
                    decided_time=decision.decided_time,
                    decision=decided,
                    rules=[r for r in decision.rules if r.channel in ("", channel)]
                    or [_DEFAULTS],
                    preferences_version=decision.preferences_version,
                    default_preferences_version=decision.default_preferences_version,
                )


def _devices(channel: str, decisions: Iterable[DecisionTrace]) -> dict[str, str]:
    return {
        delivery.delivery_id: delivery.device_id
        for decision in decisions
        for decided in decision.channels
        if decided.channel == channel
        for delivery in decided.deliveries
    }


def _receipts(events: Iterable[EventRow]) -> Iterable[tracking_pb2.ReceiptRecord]:
    for event in events:
        if event.kind not in _RECEIPTS:
            continue
        # What was read in the inbox has no detail.
        told = event_pb2.Receipt.FromString(event.detail or b"")
        yield tracking_pb2.ReceiptRecord(
            event=records.event_name(event.kind),
            time=records.timestamp(event.occurred_time),
            provider=told.provider,
            provider_status=told.provider_status,
            provider_code=told.provider_code,
            reason=event.reason,
        )


def _dead_letters(
    events: Iterable[EventRow],
) -> Iterable[tracking_pb2.DeadLetterRecord]:
    found: list[tracking_pb2.DeadLetterRecord] = []
    for event in events:
        if event.kind == _K.EVENT_KIND_DEAD_LETTERED:
            found.append(
                tracking_pb2.DeadLetterRecord(
                    time=records.timestamp(event.occurred_time), reason=event.reason
                )
            )
        elif event.kind == _K.EVENT_KIND_REDRIVEN and found:
            again = records.timestamp(event.occurred_time)
            found[-1].redriven_time.CopyFrom(again)
    return found


def _rank(record: tracking_pb2.DeliveryRecord) -> tuple[int, int]:
    status = state.NAMES.index(record.status)
    for place, mask in enumerate(_BEST_FIRST):
        if mask & 1 << status:
            return place, -status
    return len(_BEST_FIRST), -status
