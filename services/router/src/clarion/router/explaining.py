"""The use case of asking first: what would happen to a notification if it came now.

The same steps as routing, on the same functions, but for what leaves a trace: the
limiter is looked at and not asked for a permit, and nothing is published.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from clarion.api.event.v1.notification_event_pb2 import NotificationEvent
from clarion.api.event.v1.work_pb2 import IntakeItem
from clarion.api.router.v1.decision_pb2 import DecisionTrace
from clarion.api.router.v1.notification_pb2 import Notification
from clarion.api.router.v1.notification_service_pb2 import RenderedContent
from clarion.router.admission import AdmissionLimits, objections
from clarion.router.deciding import decide
from clarion.router.deliveries import Rendered, render_items_for, write_down
from clarion.router.notification_types import Types
from clarion.router.permits import apply_permit, permit_for
from clarion.router.plan import Plan
from clarion.router.ports import Neighbours
from clarion.router.strategies.chain import escalates, is_chain, use_first
from clarion.runtime.caller import Caller
from clarion.runtime.clock import Clock
from clarion.runtime.errors import InvalidArgumentError
from clarion.runtime.ids import notification_id_for_key, uuid7

_SHOWN = ("title", "body", "html", "template_id", "template_version", "locale")


class Explained(NamedTuple):
    """What would happen."""

    decision: DecisionTrace
    contents: Sequence[RenderedContent]
    """What would be said, on each channel that is planned."""


class Explanation:
    """Decides without doing."""

    def __init__(
        self,
        neighbours: Neighbours,
        limits: AdmissionLimits,
        clock: Clock,
        types: Types,
    ) -> None:
        self._neighbours = neighbours
        self._limits = limits
        self._clock = clock
        self._types = types

    async def explain(self, notification: Notification, caller: Caller) -> Explained:
        """The decision as it would be made now, with every rule that was looked at.

        A time that it is scheduled for is not waited for. Raises InvalidArgumentError
        where it would not be accepted, UnavailableError while a neighbour does not
        answer.
        """
        now, tenant = self._clock.now(), caller.tenant
        policy = self._types.policy(tenant, notification.type)
        wrong = objections(notification, self._limits, now, "notification", policy)
        if wrong:
            raise InvalidArgumentError(violations=wrong)
        key = notification.idempotency_key
        item = IntakeItem(
            # With a key it is the one that was sent, if it was: its permit is its own.
            notification_id=notification_id_for_key(tenant, key) if key else uuid7(now),
            tenant_id=tenant,
            notification=notification,
            key_id=caller.key_id,
        )
        item.accepted_time.FromDatetime(now)
        ask = self._neighbours
        (profile,) = await ask.recipients(tenant, [notification.user_id])
        plan = decide(item, profile, now, policy)
        if plan.planned:
            (permit,) = await ask.peek(tenant, [permit_for(plan)])
            apply_permit(plan, permit, now)
        wanting = render_items_for(plan)
        results = await ask.render(tenant, wanting) if wanting else ()
        rendered = {(result.key, result.channel): result for result in results}
        if is_chain(plan):
            use_first(plan, rendered)
            if escalates(plan):
                plan.escalate_time = now + policy.escalate_after
        stamp = Timestamp()
        stamp.FromDatetime(now)
        at = stamp.SerializeToString()
        _, (_, event) = write_down(plan, rendered, "", at, with_rules=True)
        decision = NotificationEvent.FromString(event).decided.decision
        if not key:
            for channel in decision.channels:
                for delivery in channel.deliveries:
                    delivery.ClearField("delivery_id")  # its notification never is
        return Explained(decision, _contents(plan, rendered))


def _contents(plan: Plan, rendered: Rendered) -> list[RenderedContent]:
    found = []
    for channel in plan.planned:
        content = rendered[plan.item.notification_id, channel.channel].content
        found.append(
            RenderedContent(
                channel=channel.channel,
                **{field: getattr(content, field) for field in _SHOWN},
            )
        )
    return found
