"""Telling recipients which numbers want no texts, and which want them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.api.recipients.v1 import consent_service_pb2 as pb
from clarion.api.recipients.v1.recipient_pb2 import Suppression
from clarion.runtime.caller import as_tenant
from clarion.runtime.delivery import Outcome

CHANNEL = "sms"
SOURCE = "twilio"


class Suppressions:
    """The suppressions of the channel, by a ConsentService stub.

    Every call may be repeated. Raises TransientError when recipients does not answer.
    """

    def __init__(self, consents: Any) -> None:
        self._consents = consents

    async def on_failed(self, failures: Sequence[tuple[DeliveryJob, Outcome]]) -> None:
        """See OnFailed of the delivery pipeline."""
        await self._suppress(
            {
                job.target.address: outcome.suppress
                for job, outcome in failures
                if outcome.suppress
            }
        )

    async def suppress(self, tenant: str, number: str, reason: str) -> None:
        """Nothing is sent to the number any more."""
        with as_tenant(tenant):
            await self._suppress({number: reason})

    async def lift(self, tenant: str, number: str) -> None:
        """The number may be sent to again."""
        with as_tenant(tenant):
            await self._consents.RemoveSuppression(
                pb.RemoveSuppressionRequest(channel=CHANNEL, address=number)
            )

    async def _suppress(self, reasons: Mapping[str, str]) -> None:
        if not reasons:
            return
        await self._consents.BatchSuppress(
            pb.BatchSuppressRequest(
                suppressions=[
                    Suppression(
                        channel=CHANNEL, address=number, reason=reason, source=SOURCE
                    )
                    for number, reason in reasons.items()
                ]
            )
        )
