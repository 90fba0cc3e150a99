"""The use case of the router's workers: a batch of accepted notifications becomes jobs.

Each neighbour is asked once for a batch and tenant. Nothing is kept between the steps:
a batch that is interrupted anywhere is routed again from the start, with the same ids.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack

from clarion.api.event.v1.notification_event_pb2 import NotificationEvent
from clarion.api.event.v1.work_pb2 import DeliveryJob, IntakeItem
from clarion.api.recipients.v1.recipient_service_pb2 import RecipientProfile
from clarion.router import metrics
from clarion.router.deciding import PLANNED, RATE_LIMITED, Plan, decide
from clarion.router.deliveries import permit_for, render_item_for, write_down
from clarion.router.ports import Neighbours
from clarion.runtime import chunks
from clarion.runtime.clock import Clock
from clarion.runtime.jetstream import Publisher
from clarion.runtime.streams import events_subject, work_subject
from clarion.runtime.tracing import current_traceparent, span_from

# A chunk is one publish, one fsync and one handler call of a channel; large ones are
# what makes the mesh fast, and they stay well under the 2 MB that a message may have.
MOST_ITEMS = 256
MOST_BYTES = 700_000


class Router:
    """Routes batches of accepted notifications."""

    def __init__(
        self, neighbours: Neighbours, publisher: Publisher, clock: Clock
    ) -> None:
        self._neighbours = neighbours
        self._publisher = publisher
        self._clock = clock

    async def route(self, items: Sequence[IntakeItem]) -> None:
        """Returns when every job and every decision of the batch is stored.

        Raises TransientError while a neighbour or the stream does not answer.
        """
        by_tenant: dict[str, list[IntakeItem]] = defaultdict(list)
        for item in items:
            by_tenant[item.tenant_id].append(item)
        await asyncio.gather(
            *(self._route_tenant(tenant, own) for tenant, own in by_tenant.items())
        )

    async def _route_tenant(self, tenant: str, items: Sequence[IntakeItem]) -> None:
        with ExitStack() as spans:
            trace_parents = [_enter_span(spans, item) for item in items]
            plans = await self._decide(tenant, items)
            await self._limit(tenant, plans)
            await self._hand_over(tenant, plans, trace_parents)

    async def _decide(self, tenant: str, items: Sequence[IntakeItem]) -> list[Plan]:
        user_ids = list({item.notification.user_id: None for item in items})
        profiles: dict[str, RecipientProfile] = dict(
            zip(
                user_ids,
                await self._neighbours.recipients(tenant, user_ids),
                strict=True,
            )
        )
        now = self._clock.now()
        return [
            decide(item, profiles[item.notification.user_id], now) for item in items
        ]

    async def _limit(self, tenant: str, plans: Sequence[Plan]) -> None:
        wanting = [plan for plan in plans if plan.planned]
        if not wanting:
            return
        results = await self._neighbours.acquire(
            tenant, [permit_for(plan) for plan in wanting]
        )
        for plan, result in zip(wanting, results, strict=True):
            if not result.allowed:
                plan.object(RATE_LIMITED, f"{result.exceeded}_limit")

    async def _hand_over(
        self, tenant: str, plans: Sequence[Plan], trace_parents: Sequence[str]
    ) -> None:
        wanting = [render_item_for(plan) for plan in plans if plan.planned]
        results = await self._neighbours.render(tenant, wanting) if wanting else ()
        rendered = {(result.key, result.channel): result for result in results}
        now = self._clock.now()
        jobs: list[DeliveryJob] = []
        events: list[NotificationEvent] = []
        for plan, trace_parent in zip(plans, trace_parents, strict=True):
            own, event = write_down(plan, rendered, trace_parent, now)
            jobs += own
            events.append(event)
        await self._publish(jobs, events)
        for plan in plans:
            for channel in plan.channels:
                targets = len(channel.targets) if channel.outcome == PLANNED else 1
                metrics.record_decision(
                    channel.channel,
                    plan.priority,
                    channel.outcome,
                    channel.reason,
                    targets,
                )

    async def _publish(
        self, jobs: Sequence[DeliveryJob], events: Sequence[NotificationEvent]
    ) -> None:
        by_subject: dict[str, list[tuple[str, bytes]]] = defaultdict(list)
        for job in jobs:
            subject = work_subject(job.channel, job.priority)
            by_subject[subject].append((job.delivery_id, job.SerializeToString()))
        by_subject[events_subject("router")] = [
            (event.event_id, event.SerializeToString()) for event in events
        ]
        await asyncio.gather(
            *(
                self._publisher.publish(
                    subject,
                    chunks.join(encoded for _, encoded in run),
                    message_id=chunks.identity(subject, (id for id, _ in run)),
                )
                for subject, encoded_items in by_subject.items()
                for run in chunks.split(
                    encoded_items, max_items=MOST_ITEMS, max_bytes=MOST_BYTES
                )
            )
        )


def _enter_span(spans: ExitStack, item: IntakeItem) -> str:
    """Opens the item's span, where its trace is sampled; the context to pass on."""
    span = spans.enter_context(
        span_from(
            item.trace_parent,
            "route notification",
            attributes={
                "clarion.notification_id": item.notification_id,
                "clarion.tenant": item.tenant_id,
            },
        )
    )
    if not span.is_recording():
        return item.trace_parent
    return current_traceparent()
