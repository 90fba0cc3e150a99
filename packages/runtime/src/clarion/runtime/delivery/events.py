"""What tracking is told: outcomes and claims as NotificationEvents. Pure.

Ids are derived from the delivery, the kind and the attempt: whoever tells the same
thing again, after a crash or from a done mark, tells it under the same id.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from clarion.api.event.v1 import notification_event_pb2 as pb
from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.runtime import chunks
from clarion.runtime.delivery.attempts import Verdict
from clarion.runtime.delivery.claims import ClaimState
from clarion.runtime.delivery.entry import Entry
from clarion.runtime.delivery.outcome import Outcome, OutcomeKind
from clarion.runtime.delivery.sent_draft import SentDraft, is_plain
from clarion.runtime.ids import event_id

ATTEMPTS_EXHAUSTED = "attempts_exhausted"
POSSIBLE_DUPLICATE = "possible_duplicate"
"""The reason of a SENT that may be the second one: the worker that had the delivery
before died between the provider's answer and its record."""

_SEPARATOR = b"\x1f"
_ENDED = {
    ClaimState.CANCELLED: (pb.EVENT_KIND_CANCELLED, "cancelled"),
    ClaimState.SUPPRESSED: (pb.EVENT_KIND_SUPPRESSED, "suppressed"),
    ClaimState.SUPERSEDED: (pb.EVENT_KIND_SUPERSEDED, "superseded"),
    ClaimState.EXPIRED: (pb.EVENT_KIND_EXPIRED, "expired"),
}
_KINDS = {
    OutcomeKind.SENT: (pb.EVENT_KIND_SENT, "sent"),
    OutcomeKind.FAILED: (pb.EVENT_KIND_FAILED, "failed"),
    OutcomeKind.UNKNOWN: (pb.EVENT_KIND_UNKNOWN, "unknown"),
    OutcomeKind.RETRY: (pb.EVENT_KIND_RETRYING, "retrying"),
}


@dataclass(frozen=True, slots=True)
class Past:
    """How a delivery ended, as its done mark remembers it."""

    outcome: Outcome
    provider: str
    attempt: int
    at: datetime


def remembered(entry: Entry) -> bytes:
    """The ending of a settled entry for its done mark; kept short, it lives a day."""
    outcome = entry.outcome
    assert outcome is not None
    micros = int(entry.at.timestamp()) * 1_000_000 + entry.at.microsecond
    return (
        f"{outcome.kind.value}\x1f{entry.provider}\x1f{entry.attempt}\x1f{micros}"
        f"\x1f{_clean(outcome.reason)}\x1f{_clean(outcome.provider_code)}"
        f"\x1f{_clean(outcome.provider_message_id)}"
    ).encode()


def recalled(mark: bytes) -> Past:
    """What ``remembered`` wrote. Raises ValueError for anything else."""
    kind, provider, attempt, micros, reason, code, message_id = (
        part.decode() for part in mark.split(_SEPARATOR)
    )
    return Past(
        Outcome(OutcomeKind(kind), reason, message_id, code),
        provider,
        int(attempt),
        datetime.fromtimestamp(int(micros) / 1e6, UTC),
    )


def encoded(entries: Iterable[Entry]) -> bytes:
    """What there is to tell about some hundred entries, as an EventChunk."""
    plain: list[bytes] = []
    rest = pb.EventChunk()
    draft = SentDraft()
    for entry in entries:
        if is_plain(entry):
            plain.append(draft.encoded(entry))
        else:
            add_events(rest, entry)
    return chunks.join(plain) + rest.SerializeToString()


def add_events(chunk: pb.EventChunk, entry: Entry) -> None:
    """Adds what there is to tell about an entry; nothing where another will tell."""
    if entry.outcome is not None:
        _add_outcome(chunk, entry, entry.outcome)
        return
    state = entry.claim.state
    if state is ClaimState.DONE:
        _add_folded(chunk, entry)
    elif state in _ENDED:
        kind, word = _ENDED[state]
        _add(chunk, entry.job, kind, word, "", entry.at, word)


def _add_outcome(chunk: pb.EventChunk, entry: Entry, outcome: Outcome) -> None:
    exhausted = entry.verdict is Verdict.EXHAUSTED
    if not (exhausted and outcome.kind is OutcomeKind.RETRY):
        kind, word = _KINDS[outcome.kind]
        reason = outcome.reason
        if outcome.kind is OutcomeKind.SENT and entry.is_doubtful:
            reason = POSSIBLE_DUPLICATE
        number = str(entry.attempt)
        event = _add(chunk, entry.job, kind, word, number, entry.at, reason)
        _set_attempt(event, entry, outcome)
    if exhausted:
        event = _add(
            chunk,
            entry.job,
            pb.EVENT_KIND_DEAD_LETTERED,
            "dead_lettered",
            str(entry.attempt),
            entry.at,
            ATTEMPTS_EXHAUSTED,
        )
        _set_attempt(event, entry, outcome)


def _add_folded(chunk: pb.EventChunk, entry: Entry) -> None:
    """Tells the fold, and the end again: its event may be what a crash took."""
    past = recalled(entry.claim.outcome)
    kind, word = _KINDS[past.outcome.kind]
    event = _add(
        chunk, entry.job, kind, word, str(past.attempt), past.at, past.outcome.reason
    )
    _set_past(event, past)
    event = _add(
        chunk, entry.job, pb.EVENT_KIND_FOLDED, "folded", entry.owner, entry.at, ""
    )
    _set_past(event, past)


def _add(
    chunk: pb.EventChunk,
    job: DeliveryJob,
    kind: pb.EventKind.ValueType,
    word: str,
    part: str,
    at: datetime,
    reason: str,
) -> pb.NotificationEvent:
    delivery_id = job.delivery_id
    event = chunk.events.add(
        event_id=event_id(delivery_id, word, part),
        tenant_id=job.tenant_id,
        notification_id=job.notification_id,
        kind=kind,
        user_id=job.user_id,
        type=job.type,
        channel=job.channel,
        delivery_id=delivery_id,
        reason=reason,
    )
    set_time(event.occurred_time, at)
    return event


def _set_attempt(event: pb.NotificationEvent, entry: Entry, outcome: Outcome) -> None:
    attempt = event.attempt
    attempt.attempt = entry.attempt
    attempt.provider = entry.provider
    if outcome.provider_message_id:
        attempt.provider_message_id = outcome.provider_message_id
    if outcome.provider_code:
        attempt.provider_code = outcome.provider_code
    if entry.latency is not None:
        _set_span(attempt.provider_latency, entry.latency)
    if entry.job.HasField("accepted_time"):
        _set_micros(
            attempt.accept_to_provider,
            micros_between(entry.job.accepted_time, entry.at),
        )
    if entry.retry_at is not None:
        set_time(attempt.retry_time, entry.retry_at)


def _set_past(event: pb.NotificationEvent, past: Past) -> None:
    attempt = event.attempt
    attempt.attempt = past.attempt
    attempt.provider = past.provider
    attempt.provider_message_id = past.outcome.provider_message_id
    attempt.provider_code = past.outcome.provider_code


def set_time(field: Timestamp, at: datetime) -> None:
    """FromDatetime without its checks: this runs for every delivery."""
    field.seconds = int(at.timestamp())
    field.nanos = at.microsecond * 1000


def micros_between(start: Timestamp, end: datetime) -> int:
    """From a wire time to one of ours; never negative, as clocks differ a little."""
    seconds = int(end.timestamp()) - start.seconds
    return max(seconds * 1_000_000 + end.microsecond - start.nanos // 1000, 0)


def _set_span(field: Duration, span: timedelta) -> None:
    field.seconds = span.days * 86_400 + span.seconds
    field.nanos = span.microseconds * 1000


def _set_micros(field: Duration, micros: int) -> None:
    field.seconds, rest = divmod(micros, 1_000_000)
    field.nanos = rest * 1000


def _clean(text: str) -> str:
    return text.replace("\x1f", " ")
