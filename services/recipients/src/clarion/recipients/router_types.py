"""Asks the router which types are critical."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta

import grpc

from clarion.api.recipients.v1.recipient_pb2 import CriticalType
from clarion.api.router.v1.notification_type_service_pb2 import (
    ListNotificationTypesRequest,
)
from clarion.api.router.v1.notification_type_service_pb2_grpc import (
    NotificationTypeServiceStub,
)
from clarion.runtime.caller import as_tenant
from clarion.runtime.clock import Clock
from clarion.runtime.errors import ClarionError

logger = logging.getLogger(__name__)

FRESH = timedelta(seconds=1)
_PATIENCE_SECONDS = 0.5
_PAGE = 500
_MOST_TENANTS = 10_000


class RouterTypes:
    """Implements CriticalTypes: asks at most once a second for a tenant.

    While the router does not answer, what it said last holds, and it is asked again a
    second later: preferences can be read without it.
    """

    def __init__(self, router: grpc.aio.Channel, clock: Clock) -> None:
        self._types = NotificationTypeServiceStub(router)
        self._clock = clock
        self._known: dict[str, Sequence[CriticalType] | None] = {}
        self._asked: dict[str, float] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def of(self, tenant: str) -> Sequence[CriticalType] | None:
        now = self._clock.monotonic()
        asked = self._asked.get(tenant)
        if asked is None or now - asked >= FRESH.total_seconds():
            # Who comes meanwhile waits for the same answer.
            asking = self._asking.get(tenant)
            if asking is None:
                asking = asyncio.create_task(self._refresh(tenant))
                self._asking[tenant] = asking
                asking.add_done_callback(lambda _: self._asking.pop(tenant, None))
            await asyncio.shield(asking)
        return self._known.get(tenant)

    async def _refresh(self, tenant: str) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                found = await self._ask(tenant)
        except (ClarionError, TimeoutError) as error:
            logger.warning(
                "critical types not read", extra={"error": type(error).__name__}
            )
            self._keep(tenant, self._known.get(tenant))
        else:
            self._keep(tenant, found)

    def _keep(self, tenant: str, types: Sequence[CriticalType] | None) -> None:
        if tenant not in self._known and len(self._known) >= _MOST_TENANTS:
            oldest = next(iter(self._known))
            del self._known[oldest], self._asked[oldest]
        self._known[tenant] = types
        self._asked[tenant] = self._clock.monotonic()

    async def _ask(self, tenant: str) -> Sequence[CriticalType]:
        found: list[CriticalType] = []
        token = ""
        while True:
            request = ListNotificationTypesRequest(
                page_size=_PAGE, page_token=token, critical_only=True
            )
            with as_tenant(tenant):
                page = await self._types.ListNotificationTypes(
                    request, timeout=_PATIENCE_SECONDS
                )
            found += [
                CriticalType(type=one.type, category=one.category)
                for one in page.notification_types
                # Also of a router that does not know the filter yet.
                if one.critical
            ]
            token = page.next_page_token
            if not token:
                return found
