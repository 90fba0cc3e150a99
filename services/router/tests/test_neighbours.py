from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from clarion.api.ratelimit.v1.rate_limit_service_pb2 import AcquireItem
from clarion.api.templating.v1.template_service_pb2 import RenderItem
from clarion.router.neighbours import GrpcNeighbours
from clarion.runtime.channel import open_channel
from clarion.runtime.config import Secret
from clarion.runtime.errors import TransientError, UnavailableError
from clarion.runtime.testing import INTERNAL_KEY


@pytest.fixture
async def over_grpc(neighbour_server: Any) -> AsyncIterator[GrpcNeighbours]:
    channel = open_channel(
        neighbour_server.target, key=Secret(INTERNAL_KEY), health_name=None
    )
    yield GrpcNeighbours(channel, channel, channel, timedelta(seconds=5))
    await channel.close()


async def test_answers_keep_the_order_over_several_calls(
    over_grpc: GrpcNeighbours, neighbours: Any, person: Any
) -> None:
    ids = [f"u{n}" for n in range(1500)]
    neighbours.people = {id: person(id) for id in ids[::2]}
    profiles = await over_grpc.recipients("demo", ids)
    assert [p.recipient.user_id for p in profiles[::2]] == ids[::2]
    assert not any(p.found for p in profiles[1::2])
    assert neighbours.calls["recipients"] == 2


async def test_permits_and_contents_come_for_every_item(
    over_grpc: GrpcNeighbours, neighbours: Any
) -> None:
    neighbours.limited["ads"] = "weekly"
    items = [AcquireItem(request_id=c, user_id="u", category=c) for c in ("ads", "x")]
    permits = [item.SerializeToString() for item in items]
    results = await over_grpc.acquire("demo", permits)
    assert [(r.allowed, r.exceeded) for r in results] == [
        (False, "weekly"),
        (True, ""),
    ]
    await over_grpc.release("demo", items)
    assert not neighbours.permits
    wanted = [RenderItem(key=str(n), channels=["push", "sms"]) for n in range(300)]
    encoded = [item.SerializeToString() for item in wanted]
    contents = await over_grpc.render("demo", encoded)
    assert [(r.key, r.channel) for r in contents[-2:]] == [
        ("299", "push"),
        ("299", "sms"),
    ]


async def test_what_is_too_large_for_one_call_is_asked_in_halves(
    over_grpc: GrpcNeighbours, neighbours: Any
) -> None:
    items = [
        RenderItem(key=str(n), channels=["push"], message="x" * 60_000)
        for n in range(200)  # 12 MB; a request may have 4 MiB
    ]
    encoded = [item.SerializeToString() for item in items]
    results = await over_grpc.render("demo", encoded)
    assert [result.key for result in results] == [item.key for item in items]
    assert neighbours.calls["render"] > 2


async def test_a_neighbour_that_fails_or_is_gone_is_transient(
    over_grpc: GrpcNeighbours, neighbours: Any, neighbour_server: Any
) -> None:
    neighbours.errors["recipients"] = [UnavailableError() for _ in range(10)]
    with pytest.raises(TransientError):
        await over_grpc.recipients("demo", ["u"])
    await neighbour_server.stop()
    with pytest.raises(TransientError):
        await over_grpc.acquire(
            "demo", [AcquireItem(request_id="r").SerializeToString()]
        )
