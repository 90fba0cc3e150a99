"""The event that there is one of for nearly every delivery: it was sent. Pure.

Events of another kind, and those of unusual deliveries, are made by ``add_events``.
"""

from __future__ import annotations

from clarion.api.event.v1 import notification_event_pb2 as pb
from clarion.runtime.delivery.claims import ClaimState
from clarion.runtime.delivery.entry import Entry
from clarion.runtime.delivery.outcome import OutcomeKind
from clarion.runtime.ids import event_id

_SECOND = 1_000_000


def is_plain(entry: Entry) -> bool:
    """Whether it was sent, for the first time as far as is known."""
    return (
        entry.outcome is not None
        and entry.outcome.kind is OutcomeKind.SENT
        and entry.claim.state is ClaimState.CLAIMED
        and entry.latency is not None
        and entry.job.HasField("accepted_time")
    )


class SentDraft:
    """One message that is filled in for one plain entry after another.

    A message for each costs twice as much. The texts of all of them take memory until
    the draft is thrown away.
    """

    def __init__(self) -> None:
        self._event = event = pb.NotificationEvent(kind=pb.EVENT_KIND_SENT)
        # Each access makes an object anew.
        self._occurred = event.occurred_time
        self._attempt = event.attempt
        self._latency = event.attempt.provider_latency
        self._waited = event.attempt.accept_to_provider

    def encoded(self, entry: Entry) -> bytes:
        """The event of an entry that is plain."""
        outcome, span = entry.outcome, entry.latency
        assert outcome is not None
        assert span is not None
        job, at, number = entry.job, entry.at, entry.attempt
        seconds, micros = int(at.timestamp()), at.microsecond
        event = self._event
        event.delivery_id = delivery_id = job.delivery_id
        event.event_id = event_id(delivery_id, "sent", str(number))
        event.tenant_id = job.tenant_id
        event.notification_id = job.notification_id
        event.user_id = job.user_id
        event.type = job.type
        event.channel = job.channel
        event.reason = outcome.reason
        self._occurred.seconds = seconds
        self._occurred.nanos = micros * 1000
        attempt = self._attempt
        attempt.attempt = number
        attempt.provider = entry.provider
        attempt.provider_message_id = outcome.provider_message_id
        attempt.provider_code = outcome.provider_code
        self._latency.seconds = span.days * 86_400 + span.seconds
        self._latency.nanos = span.microseconds * 1000
        accepted = job.accepted_time
        waited = (seconds - accepted.seconds) * _SECOND + micros
        # Never negative, as clocks differ a little.
        seconds, micros = divmod(max(waited - accepted.nanos // 1000, 0), _SECOND)
        self._waited.seconds = seconds
        self._waited.nanos = micros * 1000
        return event.SerializeToString()
