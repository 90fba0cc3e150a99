"""What is told to recipients."""

from __future__ import annotations

from collections.abc import Callable

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.api.recipients.v1.recipient_service_pb2 import BatchRemoveTokensRequest
from clarion.push.dead_tokens import DeadTokens
from clarion.runtime.delivery import Outcome

DEAD = Outcome.failed("unregistered_token", "UNREGISTERED", "unregistered")
OTHER = Outcome.failed("invalid_payload")


async def test_dead_tokens_are_removed_once_each(
    make_job: Callable[..., DeliveryJob],
) -> None:
    asked: list[BatchRemoveTokensRequest] = []

    async def remove(request: BatchRemoveTokensRequest) -> None:
        asked.append(request)

    told = DeadTokens(remove)
    await told([(make_job("alive"), OTHER)])
    assert asked == []
    failures = [("a", DEAD), ("alive", OTHER), ("b", DEAD), ("a", DEAD)]
    await told([(make_job(token), outcome) for token, outcome in failures])
    assert [list(request.tokens) for request in asked] == [["a", "b"]]
