"""Stored rows as the records of the API. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from clarion.api.event.v1 import notification_event_pb2 as event_pb2
from clarion.api.router.v1.decision_pb2 import DecisionTrace
from clarion.api.tracking.v1 import tracking_service_pb2 as tracking_pb2
from clarion.tracking import state
from clarion.tracking.event_values import NO_ID, uuid_text
from clarion.tracking.repository import (
    AttemptRow,
    DeliveryRow,
    EventRow,
    NotificationRow,
)

_WAITING = ("scheduled", "deferred", "digested")
_KIND_PREFIX = "EVENT_KIND_"
_DECIDED = event_pb2.EVENT_KIND_DECIDED
_SCHEDULED = event_pb2.EVENT_KIND_SCHEDULED
_DIGESTED = event_pb2.EVENT_KIND_DIGESTED
_SPREAD = event_pb2.EVENT_KIND_SPREAD
_POSTPONING = (event_pb2.EVENT_KIND_SCHEDULED, event_pb2.EVENT_KIND_DEFERRED)


def summary(
    row: NotificationRow,
    deliveries: Iterable[DeliveryRow],
    attempts: Iterable[AttemptRow],
) -> tracking_pb2.NotificationRecord:
    """The record without timeline and request."""
    status = state.notification_status(row.mask)
    record = tracking_pb2.NotificationRecord(
        notification_id=uuid_text(row.notification_id),
        user_id=row.user_id,
        type=row.type,
        category=row.category or "",
        priority=row.priority,
        status=status,
        deliveries=delivery_records(deliveries, attempts),
        broadcast_id=uuid_text(row.broadcast_id) if row.broadcast_id else "",
    )
    if row.mask & state.Fact.ACCEPTED:
        record.accepted_time.CopyFrom(timestamp(row.accepted_time))
    if row.due_time is not None and status in _WAITING:
        record.due_time.CopyFrom(timestamp(row.due_time))
    return record


def delivery_records(
    deliveries: Iterable[DeliveryRow], attempts: Iterable[AttemptRow]
) -> list[tracking_pb2.DeliveryRecord]:
    """Deliveries with their attempts; channels without a delivery where none is."""
    rows = list(deliveries)
    planned = {row.channel for row in rows if row.delivery_id != NO_ID}
    of_delivery: dict[bytes, list[AttemptRow]] = defaultdict(list)
    for attempt in attempts:
        of_delivery[attempt.delivery_id].append(attempt)
    return [
        delivery_record(row, of_delivery.get(row.delivery_id, ()))
        for row in rows
        if row.delivery_id != NO_ID
        or row.channel not in planned
        # What was put off has become the deliveries; other ends stand beside them.
        or not 1 << row.status & state.PUT_OFF
    ]


def delivery_record(
    row: DeliveryRow, attempts: Sequence[AttemptRow] = ()
) -> tracking_pb2.DeliveryRecord:
    """One delivery."""
    return tracking_pb2.DeliveryRecord(
        channel=row.channel,
        delivery_id=uuid_text(row.delivery_id),
        status=state.NAMES[row.status],
        reason=row.reason,
        attempts=[_attempt(attempt) for attempt in attempts],
        status_time=timestamp(row.status_time),
    )


def add_events(
    record: tracking_pb2.NotificationRecord, events: Iterable[EventRow]
) -> None:
    """Adds the timeline, the request and the decision, from the events."""
    for event in events:
        record.timeline.append(_entry(event))
        if event.detail is None:
            continue
        if event.kind == _DECIDED:
            decided = event_pb2.Decided.FromString(event.detail)
            record.request.CopyFrom(decided.notification)
            _take_over(record.decision, decided.decision)
        elif event.kind == _SPREAD:
            _add_page(record, event_pb2.Spread.FromString(event.detail))
        elif event.kind in _POSTPONING and not record.HasField("request"):
            postponed = event_pb2.Postponed.FromString(event.detail)
            if postponed.HasField("notification"):
                record.request.CopyFrom(postponed.notification)
        if event.kind == _SCHEDULED and record.status == "scheduled":
            # The last one stands: the row has the latest time of all.
            postponed = event_pb2.Postponed.FromString(event.detail)
            record.due_time.CopyFrom(postponed.due_time)
            record.request.CopyFrom(postponed.notification)


def _add_page(record: tracking_pb2.NotificationRecord, page: event_pb2.Spread) -> None:
    """A page of a broadcast; pages may be told in any order."""
    broadcast = record.broadcast
    broadcast.topic = page.topic
    broadcast.subscribers = max(broadcast.subscribers, page.subscribers)
    broadcast.is_complete |= page.is_complete
    if page.HasField("notification"):
        record.request.CopyFrom(page.notification)


def add_states(
    record: tracking_pb2.BroadcastRecord, states: Iterable[tuple[int, int]]
) -> None:
    """Adds how many of its notifications have which status, from their masks."""
    for mask, number in states:
        record.statuses[state.notification_status(mask)] += number


def _take_over(known: DecisionTrace, later: DecisionTrace) -> None:
    """A later decision is about the channels that it names; others stay as they are."""
    named = {choice.channel for choice in later.channels}
    channels = [choice for choice in known.channels if choice.channel not in named]
    merged = DecisionTrace()
    merged.CopyFrom(later)
    del merged.channels[:]
    merged.channels.extend([*channels, *later.channels])
    known.CopyFrom(merged)


def event_name(kind: int) -> str:
    """The word of a kind of event, such as "decided"."""
    try:
        name = event_pb2.EventKind.Name(kind)  # type: ignore[arg-type]
    except ValueError:  # of a newer release
        name = f"{_KIND_PREFIX}KIND_{kind}"
    return name.removeprefix(_KIND_PREFIX).lower()


def _entry(event: EventRow) -> tracking_pb2.TimelineEntry:
    entry = tracking_pb2.TimelineEntry(
        event=event_name(event.kind),
        time=timestamp(event.occurred_time),
        channel=event.channel,
        delivery_id=uuid_text(event.delivery_id),
        reason=event.reason,
    )
    if event.kind == _DIGESTED and event.detail is not None:
        digested = event_pb2.Digested.FromString(event.detail)
        entry.digest_notification_id = digested.digest_notification_id
    return entry


def _attempt(row: AttemptRow) -> tracking_pb2.AttemptRecord:
    record = tracking_pb2.AttemptRecord(
        attempt=row.attempt,
        provider=row.provider,
        outcome=state.ATTEMPT_NAMES[row.outcome],
        reason=row.reason,
        provider_message_id=row.provider_message_id,
        provider_code=row.provider_code,
        attempt_time=timestamp(row.attempt_time),
    )
    if row.provider_latency is not None:
        latency = Duration()
        latency.FromTimedelta(timedelta(microseconds=row.provider_latency))
        record.provider_latency.CopyFrom(latency)
    return record


def timestamp(time: datetime) -> Timestamp:
    """An instant in a message."""
    made = Timestamp()
    made.FromDatetime(time)
    return made
