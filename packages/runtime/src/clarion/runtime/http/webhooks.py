"""Providers' webhooks by HTTP/1.1, answered by the WebhookService of this process.

What is posted to ``/webhooks/<channel>/<provider>`` becomes a call of
``ReceiveWebhook`` that passes through everything a call from afar does (``near``), and
its answer or error an answer of HTTP, as the edge's transcoder would make of it: gRPC
alone costs the service more than what there is to do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import grpc
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.json_format import MessageToJson
from google.rpc.status_pb2 import Status

from clarion.api.channel.v1.webhook_service_pb2 import ReceiveWebhookRequest
from clarion.runtime.errors import (
    ClarionError,
    DeadlineError,
    NotFoundError,
    OverloadedError,
    RequestTooLargeError,
    UnsupportedError,
)
from clarion.runtime.identity import context_of
from clarion.runtime.interceptors.rpc import PATH_METADATA
from clarion.runtime.near import Metadata, NearContext, Neighbour
from clarion.runtime.status import (
    DETAILS_METADATA,
    RETRY_AFTER_METADATA,
    status_of,
)

if TYPE_CHECKING:
    from aiohttp import web

logger = logging.getLogger(__name__)

RECEIVE = "/clarion.api.channel.v1.WebhookService/ReceiveWebhook"
MOST_UNDER_WAY = 1000
"""Webhooks at once; more are OVERLOADED with a wait."""
MOST_BYTES = 1024 * 1024
"""Of a body; aiohttp's own limit. Lines and headers have 8 KiB each."""
SECONDS = 15.0
"""For a webhook, from its first byte to the answer, as at the edge."""
_IDLE_SECONDS = 3600.0
"""Longer than the edge keeps a connection, so that it never loses a race for one."""
_WAIT = timedelta(seconds=1)

HTTP_STATUS: Mapping[grpc.StatusCode, int] = MappingProxyType(
    {
        grpc.StatusCode.OK: 200,
        grpc.StatusCode.CANCELLED: 499,
        grpc.StatusCode.UNKNOWN: 500,
        grpc.StatusCode.INVALID_ARGUMENT: 400,
        grpc.StatusCode.DEADLINE_EXCEEDED: 504,
        grpc.StatusCode.NOT_FOUND: 404,
        grpc.StatusCode.ALREADY_EXISTS: 409,
        grpc.StatusCode.PERMISSION_DENIED: 403,
        grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
        grpc.StatusCode.FAILED_PRECONDITION: 400,
        grpc.StatusCode.ABORTED: 409,
        grpc.StatusCode.OUT_OF_RANGE: 400,
        grpc.StatusCode.UNIMPLEMENTED: 501,
        grpc.StatusCode.INTERNAL: 500,
        grpc.StatusCode.UNAVAILABLE: 503,
        grpc.StatusCode.DATA_LOSS: 500,
        grpc.StatusCode.UNAUTHENTICATED: 401,
    }
)
"""As google.rpc.Code documents them."""


class WebhookListener:
    """Listens for the providers of one service."""

    def __init__(self, service: Neighbour, listen: str) -> None:
        """``listen`` is host:port; port 0 takes a free one."""
        self._service = service
        self._listen = listen
        self._under_way = 0
        self._protocols: web.Server | None = None
        self._sockets: asyncio.Server | None = None
        self.port = 0
        """The port that it listens on; 0 until started."""

    async def start(self) -> None:
        """Listens; OSError when the address cannot be had."""
        from aiohttp import web

        self._protocols = web.Server(
            self._handle, access_log=None, keepalive_timeout=_IDLE_SECONDS
        )
        host, _, port = self._listen.rpartition(":")
        loop = asyncio.get_running_loop()
        self._sockets = await loop.create_server(
            self._protocols, host.strip("[]") or None, int(port)
        )
        self.port = self._sockets.sockets[0].getsockname()[1]
        logger.info("webhooks taken", extra={"port": self.port})

    async def stop(self, grace: float) -> None:
        """Takes no more, and ends what outlasts the grace (seconds)."""
        if self._sockets is None or self._protocols is None:
            return
        self._sockets.close()
        self._protocols.pre_shutdown()
        await self._protocols.shutdown(grace)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._under_way >= MOST_UNDER_WAY:
            return _refusal(
                OverloadedError("too many webhooks at once", retry_after=_WAIT)
            )
        self._under_way += 1
        try:
            async with asyncio.timeout(SECONDS):
                return await self._answer(request)
        except TimeoutError:
            return _refusal(DeadlineError("the webhook did not arrive in time"))
        except ClarionError as error:
            return _refusal(error)
        finally:
            self._under_way -= 1

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        from aiohttp import web

        path = request.raw_path
        match path.partition("?")[0].split("/"):
            case ["", "webhooks", channel, provider]:
                pass
            case _:
                raise NotFoundError("nothing is served by this path")
        if request.method != "POST":
            return _refusal(UnsupportedError("webhooks are posted"), 405, allow="POST")
        handler = self._service.handler(RECEIVE)
        if handler is None:
            raise UnsupportedError("this service takes no webhooks")
        try:
            data = await request.read()
        except web.HTTPRequestEntityTooLarge:
            text = f"the body is larger than {MOST_BYTES} bytes"
            return _refusal(RequestTooLargeError(text), 413)
        metadata = [(name.lower(), value) for name, value in request.headers.items()]
        # The last one counts, whatever the provider sends by that name.
        metadata.append((PATH_METADATA, path))
        context = NearContext(metadata, monotonic() + SECONDS)
        raw = HttpBody(content_type=request.headers.get("content-type"), data=data)
        # In a task, as the interceptors set what belongs to this call alone.
        answering = asyncio.get_running_loop().create_task(
            handler.unary_unary(
                ReceiveWebhookRequest(channel=channel, provider=provider, raw=raw),
                context,
            ),
            context=context_of(self._service.name),
        )
        try:
            said: HttpBody = (await answering).raw
        except grpc.aio.AbortError:
            return _error(context.code(), context.trailing_metadata())
        return web.Response(body=said.data, content_type=said.content_type or None)


def _refusal(
    error: ClarionError, http_status: int | None = None, **headers: str
) -> web.Response:
    status = status_of(error)
    return _error(status.code, status.trailing_metadata, http_status, headers)


def _error(
    code: grpc.StatusCode,
    trailing: Metadata,
    http_status: int | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> web.Response:
    """A google.rpc.Status as JSON; a wait is a header, too."""
    from aiohttp import web

    told: dict[str, Any] = dict(trailing)
    status = Status.FromString(told[DETAILS_METADATA])
    sent = {"content-type": "application/json", **headers}
    if RETRY_AFTER_METADATA in told:
        sent["retry-after"] = told[RETRY_AFTER_METADATA]
    return web.Response(
        text=MessageToJson(status, preserving_proto_field_name=True),
        status=http_status or HTTP_STATUS[code],
        headers=sent,
    )
