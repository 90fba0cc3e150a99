"""HTTP/1.1 listeners: aiohttp's server without its application layer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from clarion.sandbox.exchange import Handler, Reply, Request

MAX_BODY = 32 << 20
"""Largest body that is read; SendGrid takes 30 MB."""

logger = logging.getLogger(__name__)


def server(handler: Handler) -> web.Server:
    """An aiohttp server that answers with `handler`; pass it to loop.create_server."""
    return web.Server(
        _adapter(handler), access_log=None, keepalive_timeout=75.0, logger=logger
    )


def _adapter(
    handler: Handler,
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        try:
            body = await _read(request)
            if body is None:
                return web.Response(status=413)
            reply = handler(
                Request(
                    request.method,
                    request.rel_url.raw_path,
                    request.rel_url.raw_query_string,
                    request.headers,
                    body,
                )
            )
        except Exception:
            logger.exception("request handler failed")
            reply = Reply(500)
        if reply.delay_seconds:
            await asyncio.sleep(reply.delay_seconds)
        if reply.hang_up and request.transport is not None:
            request.transport.abort()
        return web.Response(
            status=reply.status if reply.status >= 200 else 500,
            body=reply.body,
            headers=reply.headers,
        )

    return answer


async def _read(request: web.BaseRequest) -> bytes | None:
    if not request.body_exists:
        return b""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_BODY:
            return None
    return b"".join(chunks)
