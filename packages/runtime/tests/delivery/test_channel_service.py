from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from clarion.api.channel.v1 import channel_service_pb2 as pb
from clarion.api.channel.v1.channel_service_pb2_grpc import (
    ChannelServiceStub,
    add_ChannelServiceServicer_to_server,
)
from clarion.runtime.clock import SystemClock
from clarion.runtime.delivery.channel_servicer import ChannelServicer
from clarion.runtime.delivery.dead_letter import job_letter
from clarion.runtime.delivery.in_memory import ScriptedProvider, make_job
from clarion.runtime.delivery.outcome import OutcomeKind
from clarion.runtime.delivery.provider_health import ProviderHealth
from clarion.runtime.jetstream import GroupPublisher
from clarion.runtime.testing import refused, serve

pytestmark = pytest.mark.integration


@pytest.fixture
def health() -> ProviderHealth:
    return ProviderHealth(SystemClock())


@pytest.fixture
async def stub(mesh: Any, health: ProviderHealth) -> Any:
    sink: GroupPublisher[bytes] = GroupPublisher(
        mesh.streams.publisher, "events.push", b"".join
    )
    servicer = ChannelServicer(
        "push", [("fcm", health)], mesh.streams.dead_letters, sink, SystemClock()
    )
    async with serve((add_ChannelServiceServicer_to_server, servicer)) as harness:
        yield ChannelServiceStub(harness.channel())


@pytest.fixture
def bury(mesh: Any) -> Any:
    async def put(reason: str = "attempts_exhausted", **fields: Any) -> str:
        job = make_job(attempt=4, **fields)
        letter = job_letter(
            job,
            "push",
            reason=reason,
            detail="fcm: retry rate_limited 429",
            deliveries=3,
            now=SystemClock().now(),
        )
        await mesh.streams.dead_letters.put(letter)
        return letter.dead_letter_id

    return put


async def test_a_channel_says_how_its_providers_have_been(
    stub: Any, health: ProviderHealth
) -> None:
    for kind in (OutcomeKind.SENT, OutcomeKind.SENT, OutcomeKind.RETRY):
        health.record(kind, timedelta(milliseconds=20))
    answer = await stub.DescribeChannel(pb.DescribeChannelRequest())
    [provider] = answer.providers
    assert (answer.channel, provider.provider) == ("push", "fcm")
    assert provider.state == "degraded"
    assert provider.error_rate == pytest.approx(1 / 3)
    assert provider.latency.ToTimedelta() == timedelta(milliseconds=20)


async def test_dead_letters_are_listed_by_page_and_tenant(stub: Any, bury: Any) -> None:
    mine = [await bury() for _ in range(3)]
    await bury(tenant_id="other")
    await bury("follow_up_failed")
    seen: list[str] = []
    token = ""
    while True:
        answer = await stub.ListDeadLetters(
            pb.ListDeadLettersRequest(
                channel="push",
                page_size=2,
                page_token=token,
                reason="attempts_exhausted",
            )
        )
        seen += [letter.dead_letter_id for letter in answer.dead_letters]
        token = answer.next_page_token
        if not token:
            break
    assert seen == mine


async def test_a_redriven_letter_is_sent_and_told_and_gone(
    mesh: Any, stub: Any, bury: Any
) -> None:
    wanted, other = await bury(), await bury()
    request = pb.RedriveDeadLettersRequest(channel="push", dead_letter_ids=[wanted])
    assert (await stub.RedriveDeadLetters(request)).redriven == 1
    assert (await stub.RedriveDeadLetters(request)).redriven == 0
    provider = ScriptedProvider()
    await mesh.worker(provider)
    assert await mesh.until("SENT") == ["REDRIVEN", "SENT"]
    assert [job.attempt for job in provider.sent] == [4]
    left = await stub.ListDeadLetters(pb.ListDeadLettersRequest(channel="push"))
    assert [letter.dead_letter_id for letter in left.dead_letters] == [other]


async def test_all_letters_of_a_reason_are_redriven(stub: Any, bury: Any) -> None:
    for _ in range(3):
        await bury()
    await bury(tenant_id="other")
    await bury("follow_up_failed")
    request = pb.RedriveDeadLettersRequest(channel="push", reason="attempts_exhausted")
    assert (await stub.RedriveDeadLetters(request)).redriven == 3


async def test_another_channel_is_not_found_here(stub: Any) -> None:
    with refused() as refusal:
        await stub.ListDeadLetters(pb.ListDeadLettersRequest(channel="sms"))
    assert refusal.reason == "NOT_FOUND"


@pytest.mark.parametrize("token", ["x", "-1", "9" * 40, "１"])
async def test_a_foreign_page_token_is_refused(stub: Any, token: str) -> None:
    with refused() as refusal:
        await stub.ListDeadLetters(
            pb.ListDeadLettersRequest(channel="push", page_token=token)
        )
    assert refusal.reason == "INVALID_PAGE_TOKEN"


async def test_redriving_needs_ids_or_a_reason(stub: Any) -> None:
    with refused() as refusal:
        await stub.RedriveDeadLetters(pb.RedriveDeadLettersRequest(channel="push"))
    assert "dead_letter_ids" in refusal.fields
