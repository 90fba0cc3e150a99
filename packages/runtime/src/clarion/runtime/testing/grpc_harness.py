"""A real server on a free port, with the real interceptors, for servicer tests."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from clarion.runtime.caller import INTERNAL_SCOPE, TENANT_METADATA
from clarion.runtime.channel import MeshChannel, open_channel
from clarion.runtime.config import Secret
from clarion.runtime.credentials import ApiKeys
from clarion.runtime.health import Health
from clarion.runtime.interceptors.authentication import AUTHORIZATION_METADATA
from clarion.runtime.near import NearChannel
from clarion.runtime.server import AddToServer, GrpcServer
from clarion.runtime.status import DETAILS_METADATA, RETRY_AFTER_METADATA

TENANT = "demo"
TENANT_KEY = "test-tenant-key"
"""A key of tenant ``demo`` with every public scope."""
INTERNAL_KEY = "test-internal-key"
"""A service key: scopes ``internal`` and ``*``, and it must name a tenant."""


def write_keys(
    path: Path, *more: tuple[str, str, Sequence[str]], default: bool = True
) -> Path:
    """Writes an API keys file: the two keys above and more (key, tenant, scopes)."""
    entries: list[tuple[str, str, Sequence[str]]] = [*more]
    if default:
        entries.append((TENANT_KEY, TENANT, ["*"]))
        entries.append((INTERNAL_KEY, "*", [INTERNAL_SCOPE, "*"]))
    keys = [
        {
            "id": f"key-{number}",
            "sha256": sha256(key.encode()).hexdigest(),
            "tenant": tenant,
            "scopes": list(scopes),
        }
        for number, (key, tenant, scopes) in enumerate(entries)
    ]
    path.write_text(json.dumps({"keys": keys}), encoding="utf-8")
    return path


@dataclass(slots=True)
class GrpcHarness:
    """A server under test, and ways to call it."""

    port: int
    health: Health
    handler: Callable[[str], Any] = lambda _: None
    """What near channels call, by the path of the method."""
    name: str = "harness"
    _channels: list[Any] = field(default_factory=list)

    @property
    def is_serving(self) -> bool:
        """Whether near channels may call it."""
        return self.health.serving

    @property
    def target(self) -> str:
        """host:port"""
        return f"127.0.0.1:{self.port}"

    def channel(
        self, key: str | None = TENANT_KEY, tenant: str | None = None
    ) -> grpc.aio.Channel:
        """A plain channel, as a customer has it; errors are AioRpcError.

        ``key`` None sends no credential; ``tenant`` is sent as x-clarion-tenant.
        """
        # One of each: grpc.aio takes an interceptor of both kinds for the first only.
        interceptors: list[grpc.aio.ClientInterceptor] = [
            _OnUnary(key, tenant),
            _OnStream(key, tenant),
        ]
        channel = grpc.aio.insecure_channel(self.target, interceptors=interceptors)
        self._channels.append(channel)
        return channel

    def internal(self, tenant: str = TENANT) -> grpc.aio.Channel:
        """A plain channel with the service key, for that tenant."""
        return self.channel(INTERNAL_KEY, tenant)

    def mesh(self, key: str = INTERNAL_KEY) -> MeshChannel:
        """A channel as services have it: tenant from the context, ClarionError."""
        channel = mesh_channel(self.port, key)
        self._channels.append(channel)
        return channel

    def near(self, key: str = INTERNAL_KEY) -> MeshChannel:
        """The same as services of the same process have it."""
        channel = NearChannel(self, self.target, Secret(key))
        self._channels.append(channel)
        return channel

    async def close(self) -> None:
        """Closes the channels that were opened."""
        for channel in self._channels:
            await channel.close()


def mesh_channel(port: int, key: str = INTERNAL_KEY) -> MeshChannel:
    """A channel as services have it, to close: an async context manager does."""
    return open_channel(f"127.0.0.1:{port}", key=Secret(key), health_name=None)


@asynccontextmanager
async def serve(
    *servicers: tuple[AddToServer, object],
    keys: Sequence[tuple[str, str, Sequence[str]]] = (),
) -> AsyncIterator[GrpcHarness]:
    """Serves pairs of (``add_…_to_server``, servicer) on a free port.

    ``keys`` are more API keys as (key, tenant, scopes).
    """
    with tempfile.TemporaryDirectory() as folder:
        path = write_keys(Path(folder) / "keys.json", *keys)
        health = Health()
        server = GrpcServer("127.0.0.1:0", ApiKeys(path), health)
        for add_to_server, servicer in servicers:
            server.add(add_to_server, servicer)
        await server.start()
        await health.look()
        harness = GrpcHarness(server.port, health, server.handler)
        try:
            yield harness
        finally:
            await harness.close()
            await server.stop(0)


@dataclass(slots=True)
class Refusal:
    """How a call was refused, as the caller sees it."""

    code: grpc.StatusCode | None = None
    details: str = ""
    reason: str = ""
    domain: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)
    """Field path -> description."""
    rules: dict[str, str] = field(default_factory=dict)
    """Field path -> id of the rule."""
    retry_delay_seconds: float | None = None
    retry_after: str | None = None


@contextmanager
def refused() -> Iterator[Refusal]:
    """Expects the call inside to fail with a status, which it takes apart::

    with refused() as refusal:
        await stub.GetThing(request)
    assert refusal.reason == "NOT_FOUND"
    """
    refusal = Refusal()
    try:
        yield refusal
    except grpc.aio.AioRpcError as error:
        _fill(refusal, error)
    else:
        raise AssertionError("the call was not refused")


async def refusal_of(call: Awaitable[Any]) -> Refusal:
    """The refusal of one call; AssertionError when it succeeds."""
    with refused() as refusal:
        await call
    return refusal


def _fill(refusal: Refusal, error: grpc.aio.AioRpcError) -> None:
    refusal.code, refusal.details = error.code(), error.details() or ""
    trailing: Any = error.trailing_metadata() or ()
    for key, value in trailing:
        if key == RETRY_AFTER_METADATA:
            refusal.retry_after = value
        if key != DETAILS_METADATA:
            continue
        for detail in Status.FromString(value).details:
            info, bad, retry = ErrorInfo(), BadRequest(), RetryInfo()
            if detail.Unpack(info):
                refusal.reason, refusal.domain = info.reason, info.domain
                refusal.metadata = dict(info.metadata)
            elif detail.Unpack(bad):
                refusal.fields = {v.field: v.description for v in bad.field_violations}
                refusal.rules = {v.field: v.reason for v in bad.field_violations}
            elif detail.Unpack(retry):
                wait = retry.retry_delay.ToTimedelta()
                refusal.retry_delay_seconds = wait.total_seconds()


class _Credential:
    def __init__(self, key: str | None, tenant: str | None) -> None:
        self._metadata: list[tuple[str, str]] = []
        if key is not None:
            self._metadata.append((AUTHORIZATION_METADATA, f"Bearer {key}"))
        if tenant is not None:
            self._metadata.append((TENANT_METADATA, tenant))

    def on(self, details: Any) -> Any:
        metadata = grpc.aio.Metadata(*(details.metadata or ()), *self._metadata)
        return details._replace(metadata=metadata)


class _OnUnary(_Credential, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        return await continuation(self.on(client_call_details), request)


class _OnStream(_Credential, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        return await continuation(self.on(client_call_details), request)
