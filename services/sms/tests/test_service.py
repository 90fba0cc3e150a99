"""The whole service on real NATS and Valkey: from the queue to the receipt's event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from clarion.api.event.v1 import notification_event_pb2 as event_pb
from clarion.api.event.v1.work_pb2 import DeliveryChunk, DeliveryJob
from clarion.client.embedded import ports
from clarion.runtime.config import Secret
from clarion.runtime.delivery.in_memory import make_job
from clarion.runtime.jetstream import Streams
from clarion.runtime.service import Service
from clarion.runtime.settings import RuntimeSettings
from clarion.runtime.testing import INTERNAL_KEY, GrpcHarness, wait_until
from clarion.runtime.testing.stored import messages_of
from clarion.sandbox.testing import RunningSandbox, running_sandbox
from clarion.sms.app import build

pytestmark = pytest.mark.integration

ADA, OURS = "+15550100001", "+15005550006"


class Edge:
    """Passes webhooks on as they come, as the edge does."""

    def __init__(self) -> None:
        self.url = ""
        self.upstream = ""
        self.answered: list[int] = []

    async def handle(self, request: web.Request) -> web.Response:
        url = URL(self.upstream + request.raw_path, encoded=True)
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                url, data=await request.read(), headers=request.headers
            ) as answer,
        ):
            self.answered.append(answer.status)
            return web.Response(
                body=await answer.read(),
                status=answer.status,
                content_type=answer.content_type,
            )


@dataclass
class Mesh:
    """A running service and what is around it."""

    streams: Streams
    sandbox: RunningSandbox
    edge: Edge

    async def publish(self, *jobs: DeliveryJob) -> None:
        body = DeliveryChunk(jobs=jobs).SerializeToString()
        await self.streams.publisher.publish(
            "work.sms.high", body, message_id=jobs[0].delivery_id
        )

    async def events(self) -> list[event_pb.NotificationEvent]:
        """Every event so far, each id once, oldest first."""
        found: dict[str, event_pb.NotificationEvent] = {}
        async for message in messages_of(self.streams, "EVENTS"):
            for event in event_pb.EventChunk.FromString(message.data).events:
                found.setdefault(event.event_id, event)
        return list(found.values())

    async def until(self, *kinds: str) -> list[event_pb.NotificationEvent]:
        """The events, as soon as they are of these kinds."""
        wanted = [event_pb.EventKind.Value(f"EVENT_KIND_{kind}") for kind in kinds]
        async with asyncio.timeout(15):
            while True:
                events = await self.events()
                if [event.kind for event in events] == wanted:
                    return events
                await asyncio.sleep(0.02)


@pytest.fixture
async def edge() -> AsyncIterator[Edge]:
    edge = Edge()
    app = web.Application()
    app.router.add_post("/webhooks/{channel}/{provider}", edge.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    edge.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield edge
    await runner.cleanup()


@pytest.fixture
async def mesh(
    tmp_path: Path,
    keys_file: Path,
    streams: Streams,
    nats_url: str,
    valkey_url: str,
    edge: Edge,
    recipients_server: GrpcHarness,
    make_settings: Callable[..., Any],
) -> AsyncIterator[Mesh]:
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(running_sandbox(tmp_path))
        await sandbox.webhooks(twilio_inbound_url=f"{edge.url}/webhooks/sms/twilio")
        shared = RuntimeSettings(
            keys_file,
            "127.0.0.1:0",
            service_key=Secret(INTERNAL_KEY),
            nats_url=nats_url,
            redis_url=valkey_url,
            recipients_target=recipients_server.target,
            drain=timedelta(seconds=2),
        )
        listen = f"127.0.0.1:{ports.free_port()}"
        edge.upstream = f"http://{listen}"
        service = Service("sms", shared)
        stack.push_async_callback(service.stop)
        await build(
            service,
            make_settings(
                twilio_account_sid=sandbox.twilio_account_sid,
                twilio_auth_token=Secret(sandbox.twilio_auth_token),
                twilio_url=sandbox.twilio_url,
                public_url=edge.url,
                webhook_listen=listen,
            ),
        )
        await service.start()
        yield Mesh(streams, sandbox, edge)


def text_to(number: str = ADA) -> DeliveryJob:
    return make_job(number, channel="sms", priority="high")


async def test_a_job_is_sent_and_its_receipt_comes_back(mesh: Mesh) -> None:
    job = text_to()
    await mesh.publish(job)
    sent, delivered = await mesh.until("SENT", "DELIVERED")
    [arrived] = await mesh.sandbox.messages(channel="sms")
    assert arrived["delivery_id"] == job.delivery_id
    sid = arrived["provider_message_id"]
    assert sent.attempt.provider_message_id == sid
    assert delivered.receipt.provider_message_id == sid
    for event in (sent, delivered):
        assert event.tenant_id == "demo"
        assert event.notification_id == job.notification_id
        assert event.delivery_id == job.delivery_id
        assert event.type == job.type


async def test_late_double_and_disordered_receipts_are_told_once(mesh: Mesh) -> None:
    receipts = [
        {"status": "delivered", "after_ms": 10},
        {"status": "sent", "after_ms": 40},
        {"status": "delivered", "after_ms": 80},
    ]
    await mesh.sandbox.script([{"action": {"receipts": receipts}}])
    await mesh.publish(text_to())
    await wait_until(lambda: len(mesh.edge.answered) == 3)
    assert mesh.edge.answered == [200, 200, 200]
    kinds = sorted(event.kind for event in await mesh.events())
    assert kinds == [event_pb.EVENT_KIND_SENT, event_pb.EVENT_KIND_DELIVERED]


async def test_stop_is_suppressed_and_start_lifts_it(
    mesh: Mesh, recipients: Any
) -> None:
    await mesh.sandbox.receive_sms(ADA, OURS, "STOP")
    await wait_until(lambda: recipients.suppressed == {("demo", ADA): "stop"})
    await mesh.sandbox.receive_sms(ADA, OURS, "START")
    await wait_until(lambda: not recipients.suppressed)


async def test_an_opted_out_number_is_told_to_recipients(
    mesh: Mesh, recipients: Any
) -> None:
    match = {"provider": "twilio"}
    await mesh.sandbox.script([{"match": match, "action": {"code": 21610}}])
    await mesh.publish(text_to())
    [failed] = await mesh.until("FAILED")
    assert (failed.reason, failed.attempt.provider_code) == ("opted_out", "21610")
    await wait_until(lambda: recipients.suppressed == {("demo", ADA): "stop"})


async def test_a_provider_that_is_away_is_tried_again(mesh: Mesh) -> None:
    match = {"provider": "twilio"}
    rule = {"match": match, "times": 1, "action": {"code": 20503}}
    await mesh.sandbox.script([rule])
    await mesh.publish(text_to())
    retrying, sent, _ = await mesh.until("RETRYING", "SENT", "DELIVERED")
    assert retrying.reason == "provider_unavailable"
    assert sent.attempt.attempt == 2


async def test_a_receipt_that_cannot_be_dealt_with_comes_again(
    mesh: Mesh, recipients: Any
) -> None:
    recipients.is_down = True
    opted_out = {"status": "undelivered", "after_ms": 10, "error_code": "21610"}
    await mesh.sandbox.script([{"action": {"receipts": [opted_out]}}])
    await mesh.publish(text_to())
    await wait_until(lambda: 503 in mesh.edge.answered)
    recipients.is_down = False
    await wait_until(lambda: mesh.edge.answered[-1] == 200)
    assert recipients.suppressed == {("demo", ADA): "stop"}
