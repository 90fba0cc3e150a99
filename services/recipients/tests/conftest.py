"""Real Postgres and Valkey for the whole session; a service and a tenant per test."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clarion.api.recipients.v1.consent_service_pb2_grpc import ConsentServiceStub
from clarion.api.recipients.v1.preference_service_pb2_grpc import PreferenceServiceStub
from clarion.api.recipients.v1.recipient_service_pb2_grpc import RecipientServiceStub
from clarion.api.recipients.v1.topic_service_pb2_grpc import TopicServiceStub
from clarion.recipients.app import build
from clarion.recipients.settings import Settings
from clarion.runtime.service import Service
from clarion.runtime.settings import RuntimeSettings
from clarion.runtime.testing import INTERNAL_KEY, GrpcHarness, wait_until


@pytest.fixture(scope="session")
def postgres_url(migrated: Callable[[str], str]) -> str:
    return migrated("recipients")


@pytest.fixture
def tenant() -> str:
    return f"t-{uuid.uuid4().hex[:12]}"


@dataclass
class Stubs:
    """The four services, as one tenant calls them."""

    people: Any
    preferences: Any
    consents: Any
    topics: Any


@dataclass
class Running:
    """A service under test."""

    harness: GrpcHarness

    def of(self, tenant: str) -> Stubs:
        channel = self.harness.channel(INTERNAL_KEY, tenant)
        return Stubs(
            RecipientServiceStub(channel),
            PreferenceServiceStub(channel),
            ConsentServiceStub(channel),
            TopicServiceStub(channel),
        )


Start = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def start(keys_file: Path, postgres_url: str, valkey_url: str) -> Start:
    servers = postgres_url, valkey_url

    @asynccontextmanager
    async def started(
        postgres_url: str = servers[0],
        redis_url: str = servers[1],
        nats_url: str | None = None,
        ready: bool = True,
    ) -> AsyncIterator[Running]:
        service = Service(
            "recipients",
            RuntimeSettings(
                api_keys_file=keys_file,
                listen="127.0.0.1:0",
                redis_url=redis_url,
                postgres_url=postgres_url,
                nats_url=nats_url,
            ),
        )
        await build(service, Settings())
        await service.start()
        harness = GrpcHarness(service.port, service.health)
        try:
            if ready:
                await wait_until(lambda: service.health.serving, what="readiness")
            yield Running(harness)
        finally:
            await harness.close()
            await service.stop()

    return started


@pytest.fixture
async def service(start: Start) -> AsyncIterator[Running]:
    async with start() as running_service:
        yield running_service


@pytest.fixture
def stubs(service: Running, tenant: str) -> Stubs:
    return service.of(tenant)
