"""Permits that were not used go back to the limiter: now, or when it answers again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from clarion.api.event.v1.work_pb2 import IntakeItem
from clarion.api.ratelimit.v1.rate_limit_service_pb2 import AcquireItem
from clarion.router.permits import held_permit, part_of
from clarion.router.plan import Plan
from clarion.router.ports import Neighbours
from clarion.runtime import chunks
from clarion.runtime.clock import Clock
from clarion.runtime.delivery.unsent_counts import Count, UnsentCounts
from clarion.runtime.errors import TransientError
from clarion.runtime.jetstream import Scheduler
from clarion.runtime.streams import INTAKE, due_subject, later_subject

KIND = "give_back"
LANE = "low"
AGAIN = timedelta(seconds=30)
"""How long it waits for a limiter that does not answer; nothing is held up by it."""

_MOST_HELD = 10_000


class GivingBack:
    """Gives permits back. Raises TransientError when not even that can be stored."""

    def __init__(
        self,
        neighbours: Neighbours,
        scheduler: Scheduler,
        clock: Clock,
        counts: UnsentCounts,
    ) -> None:
        self._neighbours = neighbours
        self._scheduler = scheduler
        self._clock = clock
        self._counts = counts
        self._held: dict[tuple[str, int], AcquireItem] = {}

    async def items(self, items: Sequence[IntakeItem]) -> None:
        """Does what items with ``give_back`` ask for."""
        by_tenant: dict[str, list[AcquireItem]] = {}
        for item in items:
            by_tenant.setdefault(item.tenant_id, []).append(_permit(item))
        for tenant, permits in by_tenant.items():
            await self.permits(tenant, permits)

    async def permits(self, tenant: str, permits: Sequence[AcquireItem]) -> None:
        """Gives back what a tenant's permits name: the whole, or only channels."""
        try:
            await self._neighbours.release(tenant, permits)
        except TransientError:
            await asyncio.gather(*(self._later(tenant, permit) for permit in permits))

    async def parts(self, plans: Sequence[Plan]) -> None:
        """Counts later parts of notifications, before their jobs are stored.

        What nothing is sent of any more is given back. Also raises UnavailableError.
        """
        parts = [part for plan in plans if (part := part_of(plan)) is not None]
        if parts:
            await self._count(parts)

    async def withdrawn(self, tenant: str, notification_id: str) -> None:
        """Nothing more is decided of a notification. Raises as ``parts``."""
        await self._count([Count(tenant, notification_id, 0, is_last=True)])

    async def _count(self, counts: Sequence[Count]) -> None:
        found = await self._counts.add(counts)
        await self.items([IntakeItem.FromString(back) for back in found if back])

    def keep_in_mind(self, plans: Sequence[Plan]) -> None:
        """Permits were taken and nothing was handed over: it is decided once more."""
        if len(self._held) > _MOST_HELD:
            self._held.clear()
        for plan in plans:
            if plan.permit is not None:
                self._held[_key(plan.item)] = held_permit(plan)

    async def leftovers(self, tenant: str, plans: Sequence[Plan]) -> None:
        """Gives back what was kept in mind of plans that by now send nothing."""
        if not self._held:
            return
        held = [(plan, self._held.get(_key(plan.item))) for plan in plans]
        unused = [permit for plan, permit in held if permit and not plan.planned]
        if unused:
            await self.permits(tenant, unused)
        for plan in plans:
            self._held.pop(_key(plan.item), None)

    async def given_up(self, items: Sequence[IntakeItem]) -> None:
        """Gives back what was kept in mind of dead letters; redriven, they ask anew."""
        for item in items:
            permit = self._held.get(_key(item))
            if permit is not None:
                await self.permits(item.tenant_id, [permit])
                del self._held[_key(item)]

    async def _later(self, tenant: str, permit: AcquireItem) -> None:
        name = "-".join((permit.request_id, *permit.channels))
        due = self._clock.now() + AGAIN
        await self._scheduler.schedule(
            later_subject(KIND, tenant, name),
            target=due_subject(INTAKE, LANE),
            due=due,
            body=chunks.join([_item(tenant, permit).SerializeToString()]),
            message_id=f"{KIND}:{name}:{due.timestamp():.0f}",
        )


def _key(item: IntakeItem) -> tuple[str, int]:
    return item.notification_id, item.release


def _permit(item: IntakeItem) -> AcquireItem:
    notification = item.notification
    return AcquireItem(
        request_id=item.notification_id,
        user_id=notification.user_id,
        category=notification.category,
        type=notification.type,
        channels=item.channels,
    )


def _item(tenant: str, permit: AcquireItem) -> IntakeItem:
    item = IntakeItem(
        notification_id=permit.request_id,
        tenant_id=tenant,
        channels=permit.channels,
        give_back=True,
    )
    notification = item.notification
    notification.user_id = permit.user_id
    notification.type, notification.category = permit.type, permit.category
    # A router that does not know such items yet must not send it.
    notification.expires_at.FromSeconds(1)
    return item
