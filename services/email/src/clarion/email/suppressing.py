"""Telling recipients which addresses are dead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.api.recipients.v1 import consent_service_pb2 as pb
from clarion.api.recipients.v1.recipient_pb2 import Suppression
from clarion.runtime.delivery import OnFailed, Outcome


def suppress_by(consents: Any, channel: str, source: str) -> OnFailed:
    """An ``on_failed`` that writes the suppressions by a ConsentService stub."""

    async def on_failed(failures: Sequence[tuple[DeliveryJob, Outcome]]) -> None:
        dead = {
            job.target.address: outcome.suppress
            for job, outcome in failures
            if outcome.suppress
        }
        if not dead:
            return
        await consents.BatchSuppress(
            pb.BatchSuppressRequest(
                suppressions=[
                    Suppression(
                        channel=channel, address=address, reason=reason, source=source
                    )
                    for address, reason in dead.items()
                ]
            )
        )

    return on_failed
