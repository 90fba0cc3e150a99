"""Channels to neighbours are built here and nowhere else.

A ``MeshChannel`` adds to every call what the mesh needs (credential, tenant, trace
context, what is left of the deadline) and turns a neighbour's status back into an
error of ``clarion.runtime.errors`` where the call is awaited. It wraps the channel in
place of using grpc.aio interceptors: those cost a task for each call and cannot raise
anything but AioRpcError cleanly.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Generator
from datetime import timedelta
from typing import Any, cast

import grpc

from clarion.runtime import tracing
from clarion.runtime.caller import TENANT_METADATA, current_tenant
from clarion.runtime.config import Secret
from clarion.runtime.errors import ClarionError, DeadlineError
from clarion.runtime.interceptors.authentication import AUTHORIZATION_METADATA
from clarion.runtime.interceptors.deadline import time_left
from clarion.runtime.server import MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES
from clarion.runtime.status import error_of

DEFAULT_DEADLINE = timedelta(seconds=5)
"""For unary calls that inherit no deadline, such as those of consumers."""

ATTEMPTS = 4
FIRST_BACKOFF, MOST_BACKOFF = timedelta(milliseconds=50), timedelta(seconds=1)

_RETRY = {
    "maxAttempts": ATTEMPTS,
    "initialBackoff": f"{FIRST_BACKOFF.total_seconds()}s",
    "maxBackoff": f"{MOST_BACKOFF.total_seconds()}s",
    "backoffMultiplier": 2,
    # Only what is safe for every RPC: they are idempotent by their ids.
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
    ("grpc.max_send_message_length", MAX_REQUEST_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A neighbour that restarts is found again within this, not after two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.enable_retries", 1),
    ("grpc.enable_http_proxy", 0),  # the mesh never leaves by a proxy
)


def service_config(health_name: str | None = "") -> str:
    """The gRPC service config: round robin over healthy replicas, retries.

    ``health_name`` is what replicas are asked about; None where they have no health.
    """
    config: dict[str, Any] = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [{"name": [{}], "retryPolicy": _RETRY}],
    }
    if health_name is not None:
        config["healthCheckConfig"] = {"serviceName": health_name}
    return json.dumps(config)


def open_channel(
    target: str,
    *,
    key: Secret | None,
    deadline: timedelta = DEFAULT_DEADLINE,
    health_name: str | None = "",
) -> MeshChannel:
    """A channel to a service of the mesh; ``key`` is this service's own credential."""
    return MeshChannel(network_channel(target, health_name), key, deadline)


def network_channel(target: str, health_name: str | None = "") -> grpc.aio.Channel:
    """The bare channel; it connects with the first call."""
    options = (*_OPTIONS, ("grpc.service_config", service_config(health_name)))
    return grpc.aio.insecure_channel(target, options)


class MeshChannel(grpc.aio.Channel):
    """A channel whose calls carry what the mesh needs and raise ClarionError."""

    def __init__(
        self, channel: grpc.aio.Channel, key: Secret | None, deadline: timedelta
    ) -> None:
        self._channel = channel
        self._authorization = None if key is None else f"Bearer {key.reveal()}"
        self._deadline = deadline.total_seconds()

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        inner = self._channel.unary_unary(method, *args, **kwargs)

        def call(
            request: Any,
            *,
            timeout: float | None = None,
            metadata: Any = None,
            **more: Any,
        ) -> UnaryCall:
            timeout = self._budget(timeout, self._deadline)
            sent = self._metadata(metadata)
            return UnaryCall(inner(request, timeout=timeout, metadata=sent, **more))

        return call

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        inner = self._channel.unary_stream(method, *args, **kwargs)

        def call(
            request: Any,
            *,
            timeout: float | None = None,
            metadata: Any = None,
            **more: Any,
        ) -> StreamCall:
            # A watch has no end of its own, so only a caller's deadline counts.
            timeout = self._budget(timeout, None)
            sent = self._metadata(metadata)
            return StreamCall(inner(request, timeout=timeout, metadata=sent, **more))

        return call

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("streams of requests are not part of the mesh")

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("streams of requests are not part of the mesh")

    def _budget(self, asked: float | None, default: float | None) -> float | None:
        left = time_left()
        if left is not None and left <= 0:
            raise DeadlineError("the deadline passed before a neighbour was called")
        known = [limit for limit in (asked, left) if limit is not None]
        return min(known) if known else default

    def _metadata(self, given: Any) -> tuple[tuple[str, str], ...]:
        metadata = [*(given or ()), *tracing.outgoing()]
        if self._authorization is not None:
            metadata.append((AUTHORIZATION_METADATA, self._authorization))
        tenant = current_tenant()
        if tenant is not None:
            metadata.append((TENANT_METADATA, tenant))
        return tuple(metadata)

    async def close(self, grace: float | None = None) -> None:
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(
        self, last_observed_state: grpc.ChannelConnectivity
    ) -> None:
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._channel.channel_ready()

    async def __aenter__(self) -> MeshChannel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class UnaryCall:
    """A call under way; awaiting it gives the response or raises ClarionError."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __await__(self) -> Generator[Any, None, Any]:
        try:
            return (yield from self._call.__await__())
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


class StreamCall:
    """A stream of responses; iterating it raises ClarionError at its end, if any."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            async for response in self._call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        finally:
            self._call.cancel()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


def from_rpc_error(error: grpc.aio.AioRpcError) -> ClarionError:
    """The error that a failed call stands for; transient ones are TransientError."""
    trailing = cast("Any", error.trailing_metadata() or ())
    return error_of(error.code(), error.details(), tuple(trailing))
