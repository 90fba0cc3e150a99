"""Real PostgreSQL, NATS and Valkey; the whole service in the test's process."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest
from psycopg_pool import AsyncConnectionPool

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.inapp.app import build
from clarion.inapp.inbox import Inbox, Owner
from clarion.inapp.settings import Settings
from clarion.runtime.jetstream import Streams
from clarion.runtime.postgres import open_pool
from clarion.runtime.service import Service
from clarion.runtime.settings import RuntimeSettings
from clarion.runtime.testing import INTERNAL_KEY, GrpcHarness


@pytest.fixture(scope="session")
def postgres_url(migrated: Callable[[str], str]) -> str:
    return migrated("inapp")


@pytest.fixture
def owner() -> Owner:
    return Owner(f"t-{uuid.uuid4().hex[:12]}", "ada")


@pytest.fixture
async def pool(postgres_url: str) -> AsyncIterator[AsyncConnectionPool]:
    opened = await open_pool(postgres_url, "inapp", autocommit=True)
    yield opened
    await opened.close()


@pytest.fixture
def inbox(pool: AsyncConnectionPool) -> Inbox:
    return Inbox(pool)


@pytest.fixture
async def service(
    postgres_url: str, streams: Streams, nats_url: str, valkey_url: str, keys_file: Path
) -> AsyncIterator[Service]:
    settings = RuntimeSettings(
        api_keys_file=keys_file,
        listen="127.0.0.1:0",
        postgres_url=postgres_url,
        nats_url=nats_url,
        redis_url=valkey_url,
    )
    service = Service("inapp", settings)
    await build(service, Settings())
    await service.start()
    yield service
    await service.stop()


@pytest.fixture
def channel(service: Service, owner: Owner) -> grpc.aio.Channel:
    return GrpcHarness(service.port, service.health).channel(INTERNAL_KEY, owner.tenant)


Job = Callable[..., DeliveryJob]


@pytest.fixture
def job(owner: Owner) -> Job:
    """Makes a delivery to the owner of the test."""

    def make(title: str = "Hello", delivery_id: str = "") -> DeliveryJob:
        made = DeliveryJob(
            delivery_id=delivery_id or str(uuid.uuid4()),
            notification_id=str(uuid.uuid4()),
            tenant_id=owner.tenant,
            user_id=owner.user_id,
            channel="in_app",
            priority="high",
            type="comment_reply",
            category="social",
            attempt=1,
        )
        made.content.title = title
        made.content.body = "World"
        made.content.data.update({"items": 20, "amount": 99.99})
        made.target.address = owner.user_id
        made.accepted_time.GetCurrentTime()
        return made

    return make
