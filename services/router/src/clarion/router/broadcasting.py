"""The use case of telling a topic: one notification is stored for all subscribers.

Who they are is read afterwards by the workers (fan_out.py), so accepting needs the
stream and nothing else, whatever the size of the topic.
"""

from __future__ import annotations

from clarion.api.event.v1.work_pb2 import IntakeItem
from clarion.api.router.v1.notification_pb2 import Notification
from clarion.router import metrics
from clarion.router.admission import AdmissionLimits, objections, seconds
from clarion.router.idempotency import KeyedBody, digest_of
from clarion.router.naming import broadcast_id_for_key
from clarion.router.notification_types import Types
from clarion.router.storing import Accepted, Entry, Store
from clarion.runtime.caller import Caller
from clarion.runtime.clock import Clock
from clarion.runtime.errors import ClarionError, FieldViolation, InvalidArgumentError
from clarion.runtime.ids import uuid7
from clarion.runtime.tracing import sampled_traceparent
from clarion.runtime.validation import violations

BROADCAST_LANE = "low"
"""The lane of a broadcast that names none: it must not hold up what goes to one."""

_SOMEBODY = "subscriber"
"""Stands for a subscriber while the rules of a notification are checked."""


class Broadcasting:
    """Accepts notifications to topics."""

    def __init__(
        self, store: Store, limits: AdmissionLimits, clock: Clock, types: Types
    ) -> None:
        self._types = types
        self._store = store
        self._limits = limits
        self._clock = clock

    async def accept(
        self, topic: str, notification: Notification, caller: Caller
    ) -> Accepted:
        """Stores a broadcast; the answer has its id.

        Raises InvalidArgumentError, IdempotencyKeyReusedError, OverloadedError when the
        stream is full and UnavailableError when it does not answer.
        """
        now = self._clock.now()
        own = Notification()
        own.CopyFrom(notification)
        own.priority = notification.priority or BROADCAST_LANE
        own.user_id = _SOMEBODY
        policy = self._types.policy(caller.tenant, own.type)
        wrong = _judge(notification) or (
            violations(own, "notification")
            or objections(own, self._limits, now, "notification", policy)
        )
        if wrong:
            metrics.record_refused("invalid_argument")
            raise InvalidArgumentError(violations=wrong)
        own.ClearField("user_id")
        key = own.idempotency_key
        broadcast_id = broadcast_id_for_key(caller.tenant, key) if key else uuid7(now)
        item = IntakeItem(
            notification_id=broadcast_id,
            tenant_id=caller.tenant,
            notification=own,
            trace_parent=sampled_traceparent(),
            key_id=caller.key_id,
        )
        item.accepted_time.FromDatetime(now)
        item.broadcast.topic = topic
        keyed = KeyedBody(caller.tenant, broadcast_id, f"{digest_of(own)} {topic}")
        is_scheduled = (
            own.HasField("scheduled_at") and seconds(own.scheduled_at) > now.timestamp()
        )
        entry = Entry(
            broadcast_id,
            item.SerializeToString(),
            own.priority,
            is_scheduled,
            keyed if key else None,
        )
        await self._store.put([entry])
        if isinstance(entry.answer, ClarionError):
            raise entry.answer
        return entry.answer


def _judge(notification: Notification) -> list[FieldViolation]:
    """What a notification to a topic must not say."""
    if not notification.user_id:
        return []
    return [
        FieldViolation(
            "notification.user_id",
            "must be empty: the topic says who gets it",
            "user_id.broadcast",
        )
    ]
