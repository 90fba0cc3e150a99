"""The use case of the router's workers: a batch of accepted notifications becomes jobs.

Each neighbour is asked once for a batch and tenant. Nothing is kept between the steps:
a batch that is interrupted anywhere is routed again from the start, with the same ids.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from clarion.api.event.v1.work_pb2 import DigestFold, IntakeItem
from clarion.api.ratelimit.v1.rate_limit_service_pb2 import AcquireItem
from clarion.api.templating.v1.template_service_pb2 import RenderResult
from clarion.router.collapsing import Collapsing, InMemoryLatest
from clarion.router.deciding import decide
from clarion.router.deliveries import (
    EncodedJob,
    render_items_for,
    write_down,
)
from clarion.router.digests.folding import fold_of
from clarion.router.gathering import all_of, beside
from clarion.router.giving_back import GivingBack
from clarion.router.handing_over import HandOver, Step
from clarion.router.notification_types import BuiltInTypes, Types
from clarion.router.ordering import InMemoryTurns, Turn, Turns, turn_of
from clarion.router.permits import apply_permit, permit_for, unused_permit
from clarion.router.plan import Plan
from clarion.router.ports import Neighbours
from clarion.router.profiles import Profiles
from clarion.router.releasing import Release, release_of
from clarion.router.riding import Riding
from clarion.router.strategies.escalations import InMemoryEscalations
from clarion.router.strategies.stepping import Stepping
from clarion.router.waits import Waits
from clarion.runtime.clock import Clock
from clarion.runtime.delivery.unsent_counts import InMemoryUnsentCounts
from clarion.runtime.jetstream import Publisher, Scheduler
from clarion.runtime.pacing import Governor, current_flow, waiting_since
from clarion.runtime.streams import (
    LANES,
)
from clarion.runtime.tracing import (
    current_traceparent,
    is_sampled,
    recording,
    span_from,
)

MOST_AT_ONCE = 1024
"""Notifications that are decided together where so many wait and nobody is slowed by
it: about 30 ms of this process's time, which an accept that comes meanwhile waits for
in part."""


STEP = 32
"""Notifications of a flow that makes way for what is fast: about 3 ms of this process's
time, in pieces. Larger ones are what the last in a hundred waits for, smaller ones cost
each of eight processes nearly as much."""


class Router:
    """Routes batches of accepted notifications."""

    def __init__(
        self,
        neighbours: Neighbours,
        publisher: Publisher,
        clock: Clock,
        scheduler: Scheduler,
        types: Types | None = None,
        collapsing: Collapsing | None = None,
        turns: Turns | None = None,
        governor: Governor | None = None,
        stepping: Stepping | None = None,
        riding: Riding | None = None,
        giving_back: GivingBack | None = None,
        profiles: Profiles | None = None,
    ) -> None:
        self._governor = governor or Governor(STEP)
        self._hand_over = HandOver(
            publisher, riding or Riding(Waits(clock), timedelta(0))
        )
        self._neighbours = neighbours
        self._profiles = profiles or Profiles(neighbours, Waits(clock), clock)
        self._giving_back = giving_back or GivingBack(
            neighbours, scheduler, clock, InMemoryUnsentCounts()
        )
        self._collapsing = collapsing or Collapsing(InMemoryLatest())
        self._turns = turns or InMemoryTurns()
        self._clock = clock
        self._scheduler = scheduler
        self._types = types or BuiltInTypes()
        self._stepping = stepping or Stepping(InMemoryEscalations(clock.now), scheduler)

    async def route(self, items: Sequence[IntakeItem]) -> None:
        """Returns when every job and every decision of the batch is stored.

        Raises TransientError while a neighbour or the stream does not answer.
        """
        by_tenant: dict[str, dict[tuple[str, int], IntakeItem]] = defaultdict(dict)
        over = [item for item in items if item.give_back]
        if over:
            await self._giving_back.items(over)
            items = [item for item in items if not item.give_back]
        for item in items:
            # A send that was repeated is here twice: the first one is the one.
            identity = (item.notification_id, item.release)
            by_tenant[item.tenant_id].setdefault(identity, item)
        outcomes = await asyncio.gather(
            *(
                self._route_tenant(tenant, list(own.values()))
                for tenant, own in by_tenant.items()
            ),
            return_exceptions=True,
        )
        failures = [one for one in outcomes if isinstance(one, BaseException)]
        steps = [one for one in outcomes if isinstance(one, Step)]
        if not failures:
            # Many tenants with little each share the messages.
            await self._hand_over.publish(steps)
            return
        # Those that fail are tried again and again with all others, whose messages are
        # the same every time and so are stored once.
        await all_of(self._hand_over.publish([step]) for step in steps)
        raise failures[0]

    async def _route_tenant(self, tenant: str, items: Sequence[IntakeItem]) -> Step:
        """Publishes all but the last step, which may share messages with others'.

        Of a flow that makes way all is published at once: each tenant goes at a pace
        of its own.
        """
        flow, since, tenants = current_flow(), waiting_since(), (tenant,)
        step = Step()
        start = 0
        while start < len(items):
            if start:
                await self._hand_over.publish([step])
            most = min(len(items) - start, MOST_AT_ONCE)
            most = await self._governor.admit(flow, tenants, most, since)
            run = items[start : start + most]
            start += most
            with ExitStack() as spans:
                trace_parents = [_enter_span(spans, item) for item in run]
                plans = await self._decide(tenant, run)
                await self._collapsing.judge(plans)
                await self._giving_back.leftovers(tenant, plans)
                step = await self._prepared(tenant, plans, trace_parents)
        if flow in LANES:
            return step
        await self._hand_over.publish([step])
        return Step()

    async def _decide(self, tenant: str, items: Sequence[IntakeItem]) -> list[Plan]:
        profiles = await self._profiles.of(tenant, items)
        now = self._clock.now()
        policy = self._types.policy
        return [
            decide(item, profile, now, policy(tenant, item.notification.type))
            for item, profile in zip(items, profiles, strict=True)
        ]

    async def _limit(self, tenant: str, plans: Sequence[Plan]) -> None:
        wanting = [plan for plan in plans if plan.planned]
        if not wanting:
            return
        results = await self._neighbours.acquire(
            tenant, [permit_for(plan) for plan in wanting]
        )
        now = self._clock.now()
        for plan, result in zip(wanting, results, strict=True):
            apply_permit(plan, result, now)

    async def _prepared(
        self, tenant: str, plans: Sequence[Plan], trace_parents: Sequence[str]
    ) -> Step:
        try:
            # What the limits turn out to forbid is rendered in vain: that is seldom,
            # and everybody is there sooner for it.
            rendered = await beside(
                self._render(tenant, plans), self._limit(tenant, plans)
            )
            return await self._write_down(tenant, plans, rendered, trace_parents)
        except Exception:
            self._giving_back.keep_in_mind(plans)
            raise

    async def _render(
        self, tenant: str, plans: Sequence[Plan]
    ) -> dict[tuple[str, str], RenderResult]:
        wanting = [item for plan in plans for item in render_items_for(plan)]
        results = await self._neighbours.render(tenant, wanting) if wanting else ()
        return {(result.key, result.channel): result for result in results}

    async def _write_down(
        self,
        tenant: str,
        plans: Sequence[Plan],
        rendered: Mapping[tuple[str, str], RenderResult],
        trace_parents: Sequence[str],
    ) -> Step:
        """Writes the plans down and stores all that has to be there before the jobs."""
        decided = self._clock.now()
        await self._stepping.begin(plans, rendered, decided)
        now = Timestamp()
        now.FromDatetime(decided)
        encoded_now = now.SerializeToString()
        jobs: list[EncodedJob] = []
        events: list[tuple[str, bytes]] = []
        releases: list[Release] = []
        folds: list[DigestFold] = []
        unused: list[AcquireItem] = []
        turns: list[Turn] = []
        for plan, trace_parent in zip(plans, trace_parents, strict=True):
            own, event = write_down(plan, rendered, trace_parent, encoded_now)
            jobs += own
            if plan.is_ordered:
                turns.append(turn_of(plan, [job.delivery_id for job in own]))
            events.append(event)
            if plan.is_plain:
                continue
            release = release_of(plan, now)
            if release is not None:
                releases.append(release)
                told = release.event
                events.append((told.event_id, told.SerializeToString()))
            fold = fold_of(plan)
            if fold is not None:
                folds.append(fold)
            permit = unused_permit(plan)
            if permit is not None:
                unused.append(permit)
        if unused:
            await self._giving_back.permits(tenant, unused)
        await self._giving_back.parts(plans)
        await self._collapsing.record(plans)
        if turns:
            await self._turns.decided(turns)
        # First what waits: it is told as deferred or digested when it is stored.
        await all_of(self._schedule(release) for release in releases)
        await self._hand_over.collect(folds)
        await self._stepping.set_timers(plans)
        return Step(plans, jobs, events)

    async def _schedule(self, release: Release) -> None:
        await self._scheduler.schedule(
            release.subject,
            target=release.target,
            due=release.due,
            body=release.body,
            message_id=release.message_id,
        )


def _enter_span(spans: ExitStack, item: IntakeItem) -> str:
    """Opens the item's span, where its trace is sampled; the context to pass on."""
    if not is_sampled(item.trace_parent) or not recording():
        return item.trace_parent
    span = spans.enter_context(
        span_from(
            item.trace_parent,
            "route notification",
            attributes={
                "clarion.notification_id": item.notification_id,
                "clarion.tenant_id": item.tenant_id,
            },
        )
    )
    if not span.is_recording():
        return item.trace_parent
    return current_traceparent()
