"""gRPC servers are built here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import grpc

from clarion.runtime.credentials import ApiKeys
from clarion.runtime.health import Health
from clarion.runtime.interceptors.authentication import AuthenticationInterceptor
from clarion.runtime.interceptors.deadline import DeadlineInterceptor
from clarion.runtime.interceptors.errors import ErrorInterceptor
from clarion.runtime.interceptors.pipeline import Pipeline
from clarion.runtime.interceptors.request_log import RequestLogInterceptor
from clarion.runtime.interceptors.tracing import TracingInterceptor
from clarion.runtime.interceptors.validation import ValidationInterceptor
from clarion.runtime.methods import Method, methods_of

MAX_REQUEST_BYTES = 4 * 1024 * 1024
"""Larger requests are refused by gRPC with RESOURCE_EXHAUSTED naming this limit."""
MAX_RESPONSE_BYTES = 16 * 1024 * 1024

_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", MAX_RESPONSE_BYTES),
    ("grpc.so_reuseport", 0),  # a second process on the port is an error, not a share
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Channels of the mesh ping at 30 s also when idle; without this they are cut off.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    # Connections are renewed now and then, so that replicas added later get a share.
    ("grpc.max_connection_age_ms", 600_000),
    ("grpc.max_connection_age_grace_ms", 3_600_000),
)

AddToServer = Callable[[Any, grpc.aio.Server], None]


class GrpcServer:
    """One grpc.aio server with health, reflection and every interceptor."""

    def __init__(self, listen: str, keys: ApiKeys, health: Health) -> None:
        self._listen = listen
        self._health = health
        self._services: list[str] = []
        self._methods: dict[str, Method] = {}
        self._handlers: dict[str, Any] = {}
        self._pipeline = Pipeline(
            (
                TracingInterceptor(),
                RequestLogInterceptor(),
                ErrorInterceptor(),
                DeadlineInterceptor(),
                AuthenticationInterceptor(keys),
                ValidationInterceptor(),
            ),
            self._methods,
        )
        self._server = grpc.aio.server(interceptors=(self._pipeline,), options=_OPTIONS)
        self.port = 0
        """The port that it listens on; 0 until started."""

    @property
    def services(self) -> tuple[str, ...]:
        """Full names of the services added."""
        return tuple(self._services)

    def add(self, add_to_server: AddToServer, servicer: object, *names: str) -> None:
        """Adds a servicer by its generated ``add_…_to_server``.

        The names of its services are noticed on the way; more may be given.
        """
        registrar = _Registrar(self._server)
        add_to_server(servicer, cast(grpc.aio.Server, registrar))
        found = list(dict.fromkeys((*registrar.services, *names)))
        self._methods.update(methods_of(found))
        self._handlers.update(registrar.handlers)
        self._services += found

    def handler(self, path: str) -> Any:
        """What serves ``/package.Service/Method`` through all interceptors, as a
        ``grpc.RpcMethodHandler``; None where nothing does."""
        handler = self._handlers.get(path)
        return None if handler is None else self._pipeline.bind(path, handler)

    async def start(self) -> None:
        """Listens; OSError when the address cannot be had."""
        from grpc_reflection.v1alpha import reflection

        await self._health.attach(self._server, self._services)
        names = (
            *self._services,
            "grpc.health.v1.Health",
            reflection.SERVICE_NAME,
        )
        reflection.enable_server_reflection(names, self._server)
        try:
            self.port = self._server.add_insecure_port(self._listen)
        except RuntimeError as taken:
            raise OSError(f"cannot listen on {self._listen}") from taken
        await self._server.start()

    async def stop(self, grace: float) -> None:
        """Refuses new RPCs at once and cancels those that outlast the grace."""
        await self._server.stop(grace)


class _Registrar:
    """Stands in for the server to notice the names of what is registered."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server
        self.services: list[str] = []
        self.handlers: dict[str, Any] = {}
        """By path."""

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, Any]
    ) -> None:
        self.services.append(service)
        self.handlers.update({f"/{service}/{n}": h for n, h in handlers.items()})
        self._server.add_registered_method_handlers(service, dict(handlers))
