"""A real Valkey, and the service on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from clarion.api.ratelimit.v1 import rate_limit_service_pb2_grpc as rpc
from clarion.ratelimit.app import build
from clarion.ratelimit.settings import Settings
from clarion.runtime.caller import as_tenant
from clarion.runtime.service import Service
from clarion.runtime.settings import RuntimeSettings
from clarion.runtime.testing.grpc_harness import TENANT, TENANT_KEY, mesh_channel


@pytest_asyncio.fixture
async def port(keys_file: Path, valkey_url: str) -> AsyncIterator[int]:
    settings = RuntimeSettings(
        api_keys_file=keys_file, listen="127.0.0.1:0", redis_url=valkey_url
    )
    service = Service("ratelimit", settings)
    await build(service, Settings(ratelimit_chunk=3))
    await service.start()
    yield service.port
    await service.stop()


@pytest_asyncio.fixture
async def mesh(port: int) -> AsyncIterator[rpc.RateLimitServiceAsyncStub]:
    """The stub of a neighbour that calls for a tenant."""
    async with mesh_channel(port) as opened:
        with as_tenant(TENANT):
            yield rpc.RateLimitServiceStub(opened)


@pytest_asyncio.fixture
async def shop(port: int) -> AsyncIterator[rpc.RateLimitServiceAsyncStub]:
    """The stub of that tenant itself."""
    async with mesh_channel(port, TENANT_KEY) as opened:
        yield rpc.RateLimitServiceStub(opened)
