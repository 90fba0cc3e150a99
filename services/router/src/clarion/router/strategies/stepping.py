"""The use cases of chains: steps are prepared when planned, and judged when due."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from clarion.api.event.v1.work_pb2 import IntakeItem
from clarion.api.recipients.v1.recipient_service_pb2 import RecipientProfile
from clarion.router import metrics
from clarion.router.deliveries import Rendered, write_down
from clarion.router.fan_out import Routes
from clarion.router.notification_types import ESCALATE, Types
from clarion.router.plan import SKIPPED, ChannelPlan, Plan
from clarion.router.strategies.chain import (
    ESCALATION,
    FALLBACK,
    TIMER,
    escalates,
    escalation_subject,
    is_chain,
    next_step,
    use_first,
    used,
)
from clarion.router.strategies.escalations import (
    Escalations,
    State,
    Verdict,
    Wait,
)
from clarion.runtime import chunks
from clarion.runtime.clock import Clock
from clarion.runtime.jetstream import Publisher, Scheduler
from clarion.runtime.streams import INTAKE, due_subject, events_subject, later_subject

REASONS = {State.READ: "already_read", State.DELIVERED: "already_delivered"}
"""Why a step was not taken."""

_REACHED = RecipientProfile(found=True)


class Stepping:
    """Prepares the steps of the chains in a batch of plans."""

    def __init__(self, escalations: Escalations, scheduler: Scheduler) -> None:
        self._escalations = escalations
        self._scheduler = scheduler

    async def begin(
        self, plans: Sequence[Plan], rendered: Rendered, now: datetime
    ) -> None:
        """Chooses the channel that each chain uses; begins the time of escalations.

        Before anything is published: what is read from then on is marked. Raises
        UnavailableError.
        """
        chains = [plan for plan in plans if is_chain(plan)]
        if not chains:
            return
        for plan in chains:
            use_first(plan, rendered)
            if plan.planned and plan.standing_by:
                step = next_step(plan, FALLBACK)
                plan.fallback = step.SerializeToString(deterministic=True)
        begun = [(plan, wait) for plan in chains if (wait := _wait_of(plan, now))]
        if not begun:
            return
        deadlines = await self._escalations.begin([wait for _, wait in begun])
        for (plan, _), deadline in zip(begun, deadlines, strict=True):
            if escalates(plan):
                # A schedule has milliseconds: the next one, so as not to be early.
                plan.escalate_time = deadline + timedelta(milliseconds=1)

    async def set_timers(self, plans: Sequence[Plan]) -> None:
        """Stores the timers of escalations, in place of those of the steps before.

        Where nothing follows there is none; repeating is safe.
        """
        own = [plan for plan in plans if plan.strategy == ESCALATE]
        if own:
            await asyncio.gather(*(self._set_timer(plan) for plan in own))

    async def _set_timer(self, plan: Plan) -> None:
        item = plan.item
        subject = escalation_subject(item.tenant_id, item.notification_id)
        if plan.escalate_time is not None:
            step = next_step(plan, TIMER, plan.escalate_time)
            await self._scheduler.schedule(
                subject,
                target=due_subject(INTAKE, plan.priority),
                due=plan.escalate_time,
                body=chunks.join([step.SerializeToString(deterministic=True)]),
                message_id=f"{ESCALATION}:{item.notification_id}:{step.release}",
            )
        elif item.HasField("escalation") and item.escalation.cause != TIMER:
            await self._scheduler.cancel(subject)


def _wait_of(plan: Plan, now: datetime) -> Wait | None:
    """The time that begins with a plan: up to its deadline, or while it is deferred."""
    channel = used(plan)
    if plan.strategy != ESCALATE or channel is None:
        return None
    after = plan.policy.escalate_after
    if channel.release_time is not None:
        if not plan.item.release:
            return None  # nothing was sent that could be read meanwhile
        after = channel.release_time - now
    elif not plan.standing_by:
        return None
    return Wait(
        plan.item.tenant_id, plan.item.notification_id, plan.item.release + 1, after
    )


class Escalating:
    """Lets the steps of escalations pass that are to be taken."""

    def __init__(
        self,
        routes: Routes,
        escalations: Escalations,
        scheduler: Scheduler,
        publisher: Publisher,
        types: Types,
        clock: Clock,
    ) -> None:
        self._routes = routes
        self._escalations = escalations
        self._scheduler = scheduler
        self._publisher = publisher
        self._types = types
        self._clock = clock

    async def route(self, items: Sequence[IntakeItem]) -> None:
        """Returns when the batch is routed and what is not taken is told.

        Raises TransientError, also while it cannot be known whether a step is taken.
        """
        steps = [item for item in items if item.HasField("escalation")]
        if steps:
            others = [item for item in items if not item.HasField("escalation")]
            items = [*others, *await self._taken(steps)]
        if items:
            await self._routes.route(items)

    async def _taken(self, steps: Sequence[IntakeItem]) -> list[IntakeItem]:
        verdicts = await self._escalations.judge(steps)
        taken: list[IntakeItem] = []
        stopped: list[Plan] = []
        for step, verdict in zip(steps, verdicts, strict=True):
            if verdict.state is State.GOES_ON:
                taken.append(step)
            elif verdict.state is State.EARLY:
                await self._later(step, verdict)
            elif verdict.state in REASONS:
                stopped.append(self._stopped(step, REASONS[verdict.state]))
        if stopped:
            await self._tell(stopped)
        return taken

    async def _later(self, step: IntakeItem, verdict: Verdict) -> None:
        policy = self._types.policy(step.tenant_id, step.notification.type)
        await self._scheduler.schedule(
            # Not in the place of the timer: that may be a later step's by now.
            later_subject(
                "early", step.tenant_id, f"{step.notification_id}-{step.release}"
            ),
            target=due_subject(INTAKE, step.notification.priority or policy.priority),
            due=self._clock.now() + verdict.left + timedelta(milliseconds=1),
            body=chunks.join([step.SerializeToString(deterministic=True)]),
            message_id=f"early:{step.notification_id}:{step.release}",
        )

    def _stopped(self, step: IntakeItem, reason: str) -> Plan:
        notification = step.notification
        policy = self._types.policy(step.tenant_id, notification.type)
        return Plan(
            item=step,
            category=notification.category or policy.category,
            priority=notification.priority or policy.priority,
            profile=_REACHED,
            channels=[
                ChannelPlan(channel, SKIPPED, reason) for channel in step.channels
            ],
            policy=policy,
            strategy=ESCALATE,
        )

    async def _tell(self, stopped: Sequence[Plan]) -> None:
        now = Timestamp()
        now.FromDatetime(self._clock.now())
        at = now.SerializeToString()
        events = [write_down(plan, {}, "", at)[1] for plan in stopped]
        subject = events_subject("router")
        for run in chunks.split(events, max_items=256, max_bytes=700_000):
            await self._publisher.publish(
                subject,
                chunks.join(encoded for _, encoded in run),
                message_id=chunks.identity(f"stopped {subject}", (id for id, _ in run)),
            )
        metrics.record_decisions(stopped)
