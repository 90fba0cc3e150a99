from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from clarion.api.event.v1 import notification_event_pb2 as event_pb
from clarion.api.event.v1.work_pb2 import DeliveryChunk, DeliveryJob
from clarion.api.recipients.v1 import consent_service_pb2 as pb
from clarion.api.recipients.v1.consent_service_pb2_grpc import (
    ConsentServiceServicer,
    add_ConsentServiceServicer_to_server,
)
from clarion.email.app import build
from clarion.email.settings import Settings
from clarion.runtime.caller import current_caller
from clarion.runtime.config import Secret
from clarion.runtime.delivery.in_memory import make_job
from clarion.runtime.jetstream import Streams
from clarion.runtime.service import Service
from clarion.runtime.settings import RuntimeSettings
from clarion.runtime.testing import INTERNAL_KEY, serve, wait_until
from clarion.runtime.testing.stored import messages_of
from clarion.sandbox.testing import RunningSandbox

pytestmark = pytest.mark.integration

ADA = "ada@example.org"


class Consents(ConsentServiceServicer):
    """Keeps what it is told to suppress."""

    def __init__(self) -> None:
        self.suppressed: list[tuple[str, str, str, str, str]] = []

    async def BatchSuppress(self, request: Any, context: Any) -> Any:
        tenant = current_caller().tenant
        self.suppressed += [
            (tenant, s.channel, s.address, s.reason, s.source)
            for s in request.suppressions
        ]
        return pb.BatchSuppressResponse(added=len(request.suppressions))


@pytest.fixture
async def consents(
    streams: Streams,
    nats_url: str,
    valkey_url: str,
    sandbox: RunningSandbox,
    keys_file: Path,
) -> AsyncIterator[Consents]:
    """The neighbour of a running email service."""
    servicer = Consents()
    async with serve((add_ConsentServiceServicer_to_server, servicer)) as neighbour:
        service = Service(
            "email",
            RuntimeSettings(
                api_keys_file=keys_file,
                listen="127.0.0.1:0",
                nats_url=nats_url,
                redis_url=valkey_url,
                recipients_target=neighbour.target,
                service_key=Secret(INTERNAL_KEY),
            ),
        )
        await build(service, Settings(sandbox.smtp_url, "Shop <shop@example.com>"))
        await service.start()
        yield servicer
        await service.stop()


async def publish(streams: Streams, *jobs: DeliveryJob) -> None:
    body = DeliveryChunk(jobs=jobs).SerializeToString()
    await streams.publisher.publish(
        "work.email.high", body, message_id=jobs[0].delivery_id
    )


async def events(streams: Streams) -> list[event_pb.NotificationEvent]:
    return [
        event
        async for message in messages_of(streams, "EVENTS")
        for event in event_pb.EventChunk.FromString(message.data).events
    ]


async def test_mail_jobs_reach_the_server(
    streams: Streams, sandbox: RunningSandbox, consents: Consents
) -> None:
    jobs = [make_job(f"u{n}@example.org", channel="email") for n in range(50)]
    await publish(streams, *jobs)
    store = sandbox.sandbox.store
    await wait_until(lambda: store.arrivals_kept >= 50)
    arrived = {row[1] for row in await sandbox.arrivals()}
    assert arrived == {job.delivery_id for job in jobs}


async def test_a_bounce_suppresses_the_address_and_a_policy_does_not(
    streams: Streams, sandbox: RunningSandbox, consents: Consents
) -> None:
    def rule(address: str, code: str) -> dict[str, Any]:
        match = {"provider": "smtp", "recipient": address}
        return {"match": match, "action": {"code": code}}

    policy = "bob@example.org"
    await sandbox.script([rule(ADA, "550 5.1.1"), rule(policy, "550 5.7.1")])
    await publish(streams, make_job(ADA), make_job(policy))
    await wait_until(lambda: consents.suppressed)
    assert consents.suppressed == [("demo", "email", ADA, "bounce", "smtp")]
    async with asyncio.timeout(10):
        while len(told := await events(streams)) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert {event.reason for event in told} == {"invalid_address", "policy_rejected"}
