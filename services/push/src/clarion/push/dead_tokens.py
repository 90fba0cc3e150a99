"""Tokens that a provider calls dead are taken from the persons' devices."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.api.recipients.v1.recipient_service_pb2 import BatchRemoveTokensRequest
from clarion.push.providers.verdict import UNREGISTERED
from clarion.runtime.delivery import Outcome

RemoveTokens = Callable[[BatchRemoveTokensRequest], Awaitable[object]]
"""RecipientService's rpc of that name; repeating it is safe."""


class DeadTokens:
    """The ``on_failed`` of push."""

    def __init__(self, remove: RemoveTokens) -> None:
        self._remove = remove

    async def __call__(self, failures: Sequence[tuple[DeliveryJob, Outcome]]) -> None:
        """Removes the tokens of these deliveries, all of one tenant."""
        tokens = {
            job.target.address: None
            for job, outcome in failures
            if outcome.suppress == UNREGISTERED
        }
        if tokens:
            await self._remove(BatchRemoveTokensRequest(tokens=list(tokens)))
