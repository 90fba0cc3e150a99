from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from clarion.api.channel.v1 import channel_service_pb2 as pb
from clarion.api.channel.v1.channel_service_pb2_grpc import ChannelServiceStub
from clarion.api.event.v1.work_pb2 import DeliveryChunk
from clarion.runtime.delivery import Outcome, add_channel
from clarion.runtime.delivery.in_memory import ScriptedProvider, make_job
from clarion.runtime.service import Service
from clarion.runtime.settings import RuntimeSettings
from clarion.runtime.testing import TENANT_KEY, wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
async def service(
    mesh: Any, nats_url: str, valkey_url: str, keys_file: Path
) -> AsyncIterator[Service]:
    settings = RuntimeSettings(
        api_keys_file=keys_file,
        listen="127.0.0.1:0",
        nats_url=nats_url,
        redis_url=valkey_url,
    )
    service = Service("push", settings)
    yield service
    await service.stop()


async def publish(mesh: Any, lane: str, *jobs: Any) -> None:
    body = DeliveryChunk(jobs=jobs).SerializeToString()
    await mesh.streams.publisher.publish(
        f"work.push.{lane}", body, message_id=jobs[0].delivery_id
    )


async def test_a_service_delivers_all_lanes_and_answers_for_the_channel(
    mesh: Any, service: Service
) -> None:
    provider = ScriptedProvider("fcm")
    await add_channel(service, "push", [provider])
    await service.start()
    for lane in ("low", "medium", "high"):
        await publish(mesh, lane, make_job(priority=lane))
    await mesh.until("SENT", "SENT", "SENT")
    target = f"127.0.0.1:{service.port}"
    async with grpc.aio.insecure_channel(target) as channel:
        answer = await ChannelServiceStub(channel).DescribeChannel(
            pb.DescribeChannelRequest(),
            metadata=(("authorization", f"Bearer {TENANT_KEY}"),),
        )
    assert [p.provider for p in answer.providers] == ["fcm"]
    await service.stop()
    assert provider.is_closed


async def test_a_flood_of_low_does_not_block_high(mesh: Any, service: Service) -> None:
    opened = asyncio.Event()

    class SlowForLow(ScriptedProvider):
        async def send(self, jobs: Any, settle: Any) -> None:
            if jobs[0].priority == "low":
                await opened.wait()
            await super().send(jobs, settle)

    provider = SlowForLow()
    await add_channel(service, "push", [provider])
    for _ in range(40):
        await publish(mesh, "low", *(make_job(priority="low") for _ in range(200)))
    await service.start()
    await publish(mesh, "high", make_job())
    await wait_until(lambda: provider.sent)
    assert [job.priority for job in provider.sent] == ["high"]
    opened.set()


async def test_a_choice_of_providers_is_asked_for_each_job(
    mesh: Any, service: Service
) -> None:
    fcm, apns = ScriptedProvider("fcm"), ScriptedProvider("apns")

    def choose(job: Any) -> Any:
        if job.user_id == "nobody":
            raise KeyError(job.user_id)
        return apns if job.target.platform == "ios" else fcm

    await add_channel(service, "push", [fcm, apns], choose)
    await service.start()
    jobs = [make_job(), make_job(), make_job(user_id="nobody")]
    jobs[0].target.platform = "ios"
    await publish(mesh, "high", *jobs)
    await mesh.until("SENT", "SENT", "SENT")
    assert (len(fcm.sent), len(apns.sent)) == (2, 1)


async def test_failures_reach_the_service(mesh: Any, service: Service) -> None:
    told: list[Any] = []

    async def on_failed(failures: Any) -> None:
        told.extend(failures)

    failed = Outcome.failed("unregistered_token", "404", "unregistered")
    provider = ScriptedProvider(script=lambda _: failed)
    await add_channel(service, "push", [provider], on_failed=on_failed)
    await service.start()
    await publish(mesh, "high", make_job())
    await mesh.until("FAILED")
    assert [outcome for _, outcome in told] == [failed]


@pytest.mark.parametrize(
    ("channel", "providers"), [("fax", [ScriptedProvider()]), ("push", [])]
)
async def test_wrong_wiring_is_refused(
    service: Service, channel: str, providers: Any
) -> None:
    with pytest.raises(ValueError, match="channel"):
        await add_channel(service, channel, providers)


async def test_a_dry_run_sends_nothing_and_settles_all_as_sent(
    mesh: Any,
    nats_url: str,
    valkey_url: str,
    keys_file: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = RuntimeSettings(
        api_keys_file=keys_file,
        listen="127.0.0.1:0",
        nats_url=nats_url,
        redis_url=valkey_url,
        dry_run=True,
    )
    service = Service("push", settings)
    provider = ScriptedProvider("fcm")
    await add_channel(service, "push", [provider])
    assert "DRY RUN" in caplog.text
    await service.start()
    await publish(mesh, "high", make_job())
    await publish(mesh, "low", make_job(priority="low"))
    await mesh.until("SENT", "SENT")
    await service.stop()
    assert (len(provider.sent), provider.is_closed) == (0, True)
    ended = [r for r in caplog.records if r.getMessage() == "dry run ended"]
    assert [r.__dict__["taken"] for r in ended] == [2]
