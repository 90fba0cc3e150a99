"""The use case of webhooks: what a provider tells is stored before it is answered."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_DELIVERED,
    EVENT_KIND_OPENED,
    EVENT_KIND_UNDELIVERED,
    EventChunk,
    NotificationEvent,
    Receipt,
)
from clarion.runtime.clock import Clock
from clarion.runtime.delivery.reached import DELIVERED, READ, Reached
from clarion.runtime.errors import InvalidArgumentError, NotFoundError
from clarion.runtime.ids import event_id
from clarion.sms import metrics
from clarion.sms.callback_url import DeliveryRef
from clarion.sms.callbacks import STATUSES, Inbound, Keyword, StatusCallback
from clarion.sms.suppressing import CHANNEL, SOURCE

_log = logging.getLogger(__name__)

ANY_NUMBER = "*"
_REACHED = {EVENT_KIND_DELIVERED: DELIVERED, EVENT_KIND_OPENED: READ}


class EventSink(Protocol):
    """Where events are stored: a GroupPublisher of encoded EventChunks."""

    async def submit(self, item: bytes, size: int) -> None:
        """Returns when the item is stored. Raises TransientError."""
        ...


class OptOuts(Protocol):
    """Who wants no texts: ``Suppressions``."""

    async def suppress(self, tenant: str, number: str, reason: str) -> None:
        """Nothing is sent to the number any more. Raises TransientError."""
        ...

    async def lift(self, tenant: str, number: str) -> None:
        """The number may be sent to again. Raises TransientError."""
        ...


class Chain(Protocol):
    """The channels that stand by behind this one: ``Chains``."""

    async def undelivered(self, tenant: str, delivery_id: str) -> None:
        """It did not arrive: the next one has its turn. Raises TransientError."""
        ...


class Receiving:
    """Stores receipts and opt-outs. Raises TransientError: let the provider repeat."""

    def __init__(
        self,
        events: EventSink,
        opt_outs: OptOuts,
        tenants: Mapping[str, str],
        clock: Clock,
        chain: Chain,
        reached: Reached,
    ) -> None:
        self._events = events
        self._opt_outs = opt_outs
        self._tenants = tenants
        self._clock = clock
        self._chain = chain
        self._reached = reached

    async def receive(
        self, message: StatusCallback | Inbound, ref: DeliveryRef | None
    ) -> None:
        """Deals with one message whose signature was right; repeating it is safe.

        ``ref`` is the delivery that the URL names. Raises InvalidArgumentError for a
        receipt without one, NotFoundError for a text to a number of nobody.
        """
        if isinstance(message, StatusCallback):
            await self._status(message, ref)
        else:
            await self._inbound(message)

    async def _status(self, message: StatusCallback, ref: DeliveryRef | None) -> None:
        status = message.status if message.status in STATUSES else "other"
        metrics.record_receipt(status, message.reason)
        kind = message.kind
        if kind is None:
            return
        if ref is None:
            raise InvalidArgumentError.of(
                "raw", "the callback's URL does not say which delivery it is about"
            )
        event = NotificationEvent(
            # The same for a repeat, whatever delivers it and when.
            event_id=event_id(message.message_sid, message.status),
            tenant_id=ref.tenant,
            notification_id=ref.notification_id,
            kind=kind,
            type=ref.type,
            channel=CHANNEL,
            delivery_id=ref.delivery_id,
            reason=message.reason,
            receipt=Receipt(
                provider=SOURCE,
                provider_message_id=message.message_sid,
                provider_status=message.status,
                provider_code=message.error_code,
            ),
        )
        event.occurred_time.FromDatetime(self._clock.now())
        how = _REACHED.get(kind)
        if how is not None:
            # First: it may stop what is about to be sent on another channel.
            await self._reached.mark(ref.tenant, [ref.notification_id], how)
        body = EventChunk(events=[event]).SerializeToString()
        await self._events.submit(body, len(body))
        if kind == EVENT_KIND_UNDELIVERED:
            await self._chain.undelivered(ref.tenant, ref.delivery_id)
        if message.suppress and message.to:
            await self._opt_outs.suppress(ref.tenant, message.to, message.suppress)

    async def _inbound(self, message: Inbound) -> None:
        metrics.record_inbound(message.keyword.value)
        if message.keyword is Keyword.OTHER:
            return
        tenants = self._tenants
        tenant = (
            tenants.get(message.to)
            or tenants.get(message.account_sid)
            or tenants.get(ANY_NUMBER)
        )
        if tenant is None:
            raise NotFoundError.of("tenant of the number", message.message_sid)
        if message.keyword is Keyword.STOP:
            await self._opt_outs.suppress(tenant, message.sender, "stop")
        else:
            await self._opt_outs.lift(tenant, message.sender)
        _log.info(
            "opt-out changed",
            extra={
                "tenant": tenant,
                "keyword": message.keyword.value,
                "provider_message_id": message.message_sid,
            },
        )
