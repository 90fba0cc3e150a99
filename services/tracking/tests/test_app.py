"""The whole service on real servers, as a customer and as a channel see it."""

from __future__ import annotations

from datetime import UTC, datetime

import grpc
import pytest
import pytest_asyncio

from clarion.api.event.v1 import notification_event_pb2 as event_pb2
from clarion.api.tracking.v1 import tracking_service_pb2 as pb2
from clarion.api.tracking.v1 import tracking_service_pb2_grpc as pb2_grpc
from clarion.runtime.service import Service
from clarion.runtime.settings import RuntimeSettings
from clarion.runtime.testing import TENANT_KEY
from clarion.tracking.app import build
from clarion.tracking.settings import Settings

pytestmark = pytest.mark.integration


@pytest_asyncio.fixture
async def service(database, streams, nats_url, keys_file):
    nowhere = {
        f"{name}_target": "127.0.0.1:1"
        for name in ("push", "email", "sms", "inapp", "ratelimit")
    }
    settings = RuntimeSettings(
        api_keys_file=keys_file,
        listen="127.0.0.1:0",
        nats_url=nats_url,
        postgres_url=database,
        **nowhere,
    )
    made = Service("tracking", settings)
    await build(made, Settings())
    await made.start()
    yield made
    await made.stop()


async def test_an_event_that_is_published_is_answered_at_once(service, make):
    n = make.id(datetime.now(UTC))
    decided = make.decided(n, {"push": [make.delivery(n)]})
    decided.occurred_time.FromDatetime(datetime.now(UTC))
    chunk = event_pb2.EventChunk(events=[decided])
    await service.streams.publisher.publish(
        "events.router", chunk.SerializeToString(), message_id="one"
    )
    target = f"127.0.0.1:{service.port}"
    async with grpc.aio.insecure_channel(target) as channel:
        found = await pb2_grpc.TrackingServiceStub(channel).GetNotification(
            pb2.GetNotificationRequest(notification_id=n),
            metadata=[("authorization", f"Bearer {TENANT_KEY}")],
        )
    assert found.notification.status == "processing"
