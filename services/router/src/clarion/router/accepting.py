"""The use case of the front door: a notification is checked, stored and gets its id."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from clarion.api.event.v1.work_pb2 import IntakeItem
from clarion.api.router.v1.notification_pb2 import Notification
from clarion.router import metrics
from clarion.router.admission import AdmissionLimits, objections, seconds
from clarion.router.idempotency import KeyedBody, digest_of
from clarion.router.notification_types import BuiltInTypes, TypePolicy, Types
from clarion.router.storing import Accepted, Entry, Store
from clarion.runtime import chunks
from clarion.runtime.caller import Caller
from clarion.runtime.clock import Clock
from clarion.runtime.errors import (
    ClarionError,
    InvalidArgumentError,
    TransientError,
)
from clarion.runtime.ids import notification_id_for_key, uuid7
from clarion.runtime.tracing import sampled_traceparent
from clarion.runtime.validation import violations

_CHECKED_AT_ONCE = 32
"""Notifications of a batch that are checked in one go (about 1 ms), so that a large
batch does not keep everybody else waiting."""
_ORDERED = IntakeItem(ordered=True).SerializeToString()


AskAhead = Callable[[str, Mapping[str, str]], None]
"""Told of a tenant what will be decided soon: notification id -> user id."""


class Acceptance:
    """Accepts notifications."""

    def __init__(
        self,
        store: Store,
        limits: AdmissionLimits,
        clock: Clock,
        types: Types | None = None,
        ask_ahead: AskAhead | None = None,
    ) -> None:
        self._ask_ahead = ask_ahead
        self._store = store
        self._limits = limits
        self._clock = clock
        self._types = types or BuiltInTypes()

    async def accept(self, notification: Notification, caller: Caller) -> Accepted:
        """Stores one notification, whose contract rules have been checked.

        Raises InvalidArgumentError, IdempotencyKeyReusedError, OverloadedError when the
        stream is full and UnavailableError when it does not answer.
        """
        now = self._clock.now()
        policy = self._types.policy(caller.tenant, notification.type)
        encoded = notification.SerializeToString()
        wrong = objections(
            notification, self._limits, now, "notification", policy, encoded
        )
        if wrong:
            metrics.record_refused("invalid_argument")
            raise InvalidArgumentError(violations=wrong)
        entry = self._entry(notification, encoded, policy, _Arrival(caller, now))
        if self._ask_ahead is not None and not entry.is_scheduled:
            user_id = notification.user_id
            self._ask_ahead(caller.tenant, {entry.notification_id: user_id})
        await self._store.put([entry])
        if isinstance(entry.answer, ClarionError):
            raise entry.answer
        return entry.answer

    async def accept_all(
        self, notifications: Sequence[Notification], caller: Caller
    ) -> list[Accepted | ClarionError]:
        """Stores what can be stored and answers each, in order.

        Raises OverloadedError and UnavailableError when nothing could be stored.
        """
        now = self._clock.now()
        arrival = _Arrival(caller, now)
        answers: list[Entry | ClarionError] = []
        needed: dict[str, str] = {}
        for index, notification in enumerate(notifications):
            path = f"notifications[{index}]"
            policy = self._types.policy(caller.tenant, notification.type)
            encoded = notification.SerializeToString()
            wrong = violations(notification, path) or objections(
                notification, self._limits, now, path, policy, encoded
            )
            if wrong:
                metrics.record_refused("invalid_argument")
                answers.append(InvalidArgumentError(violations=wrong))
            else:
                entry = self._entry(notification, encoded, policy, arrival)
                answers.append(entry)
                if not entry.is_scheduled:
                    needed[entry.notification_id] = notification.user_id
            if index % _CHECKED_AT_ONCE == _CHECKED_AT_ONCE - 1:
                await asyncio.sleep(0)
        if self._ask_ahead is not None:
            self._ask_ahead(caller.tenant, needed)
        entries = [entry for entry in answers if isinstance(entry, Entry)]
        await self._store.put(entries)
        failed = [e.error for e in entries if isinstance(e.error, TransientError)]
        if failed and all(entry.error is not None for entry in entries):
            raise failed[0]
        return [
            entry.answer if isinstance(entry, Entry) else entry for entry in answers
        ]

    def _entry(
        self,
        notification: Notification,
        encoded: bytes,
        policy: TypePolicy,
        arrival: _Arrival,
    ) -> Entry:
        key = notification.idempotency_key
        tenant = arrival.tenant
        if key:
            notification_id = notification_id_for_key(tenant, key)
        else:
            notification_id = uuid7(arrival.now)
        is_scheduled = (
            notification.HasField("scheduled_at")
            and seconds(notification.scheduled_at) > arrival.now.timestamp()
        )
        item = arrival.item(notification_id, encoded)
        # What is scheduled takes its place when it is decided.
        is_ordered = policy.ordered and not is_scheduled
        return Entry(
            notification_id,
            item + _ORDERED if is_ordered else item,
            notification.priority or policy.priority,
            is_scheduled,
            KeyedBody(tenant, notification_id, digest_of(notification))
            if key
            else None,
            is_ordered=is_ordered,
        )


class _Arrival:
    """What the notifications of one request have in common."""

    def __init__(self, caller: Caller, now: datetime) -> None:
        self.tenant = caller.tenant
        self.now = now
        shared = IntakeItem(
            tenant_id=caller.tenant,
            trace_parent=sampled_traceparent(),
            key_id=caller.key_id,
        )
        shared.accepted_time.FromDatetime(now)
        self._shared = shared.SerializeToString()

    def item(self, notification_id: str, notification: bytes) -> bytes:
        """The encoded IntakeItem of an encoded notification.

        Put together of encoded fields, which may stand in any order: a message built
        and encoded for each would cost three times as much.
        """
        return (
            chunks.field(
                IntakeItem.NOTIFICATION_ID_FIELD_NUMBER, notification_id.encode()
            )
            + chunks.field(IntakeItem.NOTIFICATION_FIELD_NUMBER, notification)
            + self._shared
        )
