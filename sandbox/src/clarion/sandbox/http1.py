"""A small HTTP/1.1 server: one write per read, and no task per request."""

from __future__ import annotations

import asyncio
import logging
import zlib
from functools import lru_cache
from http import HTTPStatus
from typing import cast

from clarion.sandbox.exchange import Handler, Reply, Request
from clarion.sandbox.http1_frames import Http1Error, Message, MessageCutter

MAX_BODY = 32 << 20
"""Largest body that is read; SendGrid takes 30 MB."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_COMPRESSED = ("gzip", "deflate")

logger = logging.getLogger(__name__)


class Http1Protocol(asyncio.Protocol):
    """One connection. Registers itself in `connections` while it is open."""

    def __init__(self, handler: Handler, connections: set[Http1Protocol]) -> None:
        self._handler = handler
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._cutter = MessageCutter(MAX_BODY)
        self._out: list[bytes] = []
        self._told_to_continue = False
        self._held = False
        """Whether an answer is due later: those to the requests behind it wait."""
        self._paused = False
        self._closing = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._transport = None

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._work()

    def data_received(self, data: bytes) -> None:
        self._cutter.feed(data)
        self._work()

    def abort(self) -> None:
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    def _work(self) -> None:
        """Answers what is whole; answers to a pipeline go out together."""
        while not (self._held or self._paused or self._closing):
            try:
                message = self._cutter.next()
                if message is None:
                    self._let_continue()
                    break
                self._told_to_continue = False
                self._take(message, _request_of(message))
            except Http1Error as error:
                logger.warning("http connection broke the protocol", exc_info=True)
                self._answer(Reply(error.status), is_last=True)
        self._flush()

    def _let_continue(self) -> None:
        if self._cutter.expects_continue and not self._told_to_continue:
            self._told_to_continue = True
            self._out.append(_CONTINUE)

    def _take(self, message: Message, request: Request) -> None:
        try:
            reply = self._handler(request)
        except Exception:
            logger.exception("request handler failed")
            reply = Reply(500)
        is_last, is_bare = not message.keeps_open, request.method == "HEAD"
        if reply.delay_seconds or reply.hang_up:
            # What was answered before goes out before the wait, or the hang-up.
            self._flush()
        if reply.delay_seconds:
            self._hold()
            self._loop.call_later(
                reply.delay_seconds, self._release, reply, is_last, is_bare
            )
        elif reply.hang_up:
            self.abort()
        else:
            self._answer(reply, is_last, is_bare)

    def _hold(self) -> None:
        self._held = True
        if self._transport is not None:
            self._transport.pause_reading()

    def _release(self, reply: Reply, is_last: bool, is_bare: bool) -> None:
        if self._transport is None or self._closing:
            return
        if reply.hang_up:
            self.abort()
            return
        self._held = False
        self._answer(reply, is_last, is_bare)
        self._transport.resume_reading()
        self._work()

    def _answer(
        self, reply: Reply, is_last: bool = False, is_bare: bool = False
    ) -> None:
        """`is_last` closes afterwards; `is_bare` answers HEAD."""
        status = reply.status if reply.status >= 200 else 500
        self._closing = is_last
        self._out.append(_head(status, reply.headers, is_last))
        if status == 204 or status == 304:
            self._out.append(b"\r\n")
            return
        self._out.append(b"content-length: %d\r\n\r\n" % len(reply.body))
        if not is_bare:
            self._out.append(reply.body)

    def _flush(self) -> None:
        if self._transport is None:
            self._out.clear()
            return
        if self._out:
            self._transport.write(b"".join(self._out))
            self._out.clear()
        if self._closing:
            self._transport.close()


def _request_of(message: Message) -> Request:
    parts = message.start.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise Http1Error(400, "bad request line")
    method, target, _ = parts
    if not target.startswith("/"):
        # As it is said to a proxy: http://host/path
        _, _, target = target.partition("://")
        target = "/" + target.partition("/")[2]
    path, _, query = target.partition("?")
    body = message.body
    if message.headers.get("content-encoding", "") in _COMPRESSED:
        body = _unpacked(body)
    return Request(method, path, query, message.headers, body)


def _unpacked(body: bytes) -> bytes:
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        text = unpack.decompress(body, MAX_BODY)
    except zlib.error as exc:
        raise Http1Error(400, "body is not what its encoding says") from exc
    if unpack.unconsumed_tail:
        raise Http1Error(413, "body too large")
    return text


@lru_cache(maxsize=256)
def _head(status: int, headers: tuple[tuple[str, str], ...], is_last: bool) -> bytes:
    """Status line and headers up to the length, which differs most."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{n}: {v}" for n, v in headers)]
    if is_last:
        lines.append("connection: close")
    return "\r\n".join([*lines, ""]).encode()
