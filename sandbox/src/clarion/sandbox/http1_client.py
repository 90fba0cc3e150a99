"""Posts over HTTP/1.1 on kept-open connections, with one write for a request."""

from __future__ import annotations

import asyncio
import re
import ssl
from base64 import b64encode
from collections.abc import Mapping
from datetime import timedelta
from typing import cast
from urllib.parse import SplitResult, quote, unquote, urlsplit

from clarion.sandbox.http1_frames import Http1Error, Message, MessageCutter

MAX_ANSWER = 1 << 20
_PLAIN = re.compile(r"[!-~]+")
_URL_CHARACTERS = "/?:@!$&'()*+,;=%~-._[]"

_Origin = tuple[str, str, int]


class Http1Client:
    """Opens a connection where none is free, and keeps those that may be kept."""

    def __init__(self, timeout: timedelta) -> None:
        """`timeout` is for a whole post, connecting included."""
        self._timeout = timeout.total_seconds()
        self._free: dict[_Origin, list[_Connection]] = {}
        self._open: set[_Connection] = set()
        self._tls: ssl.SSLContext | None = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """The status that was answered, whatever it is; redirects are not followed.

        Raises OSError without a connection or an answer, TimeoutError, Http1Error
        for an answer that is none, ValueError for a URL that is none.
        """
        origin, request = _request(url, headers, body)
        async with asyncio.timeout(self._timeout):
            connection = self._kept(origin) or await self._connect(origin)
            try:
                answer = await connection.ask(request)
            except BaseException:
                # An answer that comes late must not be taken for that of the next.
                connection.abort()
                raise
        if answer.keeps_open and connection.is_open:
            self._free.setdefault(origin, []).append(connection)
        else:
            connection.abort()
        return answer.status

    def close(self) -> None:
        """Closes all connections."""
        for connection in list(self._open):
            connection.abort()
        self._free.clear()

    def _kept(self, origin: _Origin) -> _Connection | None:
        free = self._free.get(origin)
        while free:
            connection = free.pop()
            if connection.is_open:
                return connection
        return None

    async def _connect(self, origin: _Origin) -> _Connection:
        scheme, host, port = origin
        tls = None
        if scheme == "https":
            tls = self._tls = self._tls or ssl.create_default_context()
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: _Connection(self._open), host, port, ssl=tls
        )
        return connection


class _Connection(asyncio.Protocol):
    """One request at a time. Registers itself in `connections` while it is open."""

    def __init__(self, connections: set[_Connection]) -> None:
        self._connections = connections
        self._cutter = MessageCutter(MAX_ANSWER, answers=True)
        self._answer: asyncio.Future[Message] | None = None
        self._transport: asyncio.Transport | None = None

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: bytes) -> Message:
        if self._transport is None:
            raise ConnectionResetError("the connection is closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._transport = None
        last = self._cutter.end() if exc is None else None
        if last is not None:
            self._settle(last)
        else:
            self._settle(exc or ConnectionResetError("closed without an answer"))

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.abort()  # nothing was asked
            return
        try:
            self._cutter.feed(data)
            answer = self._cutter.next()
        except Http1Error as error:
            self._settle(error)
            return
        if answer is not None:
            if self._cutter.has_more:
                self.abort()  # or it would be taken for the next answer
            self._settle(answer)

    def _settle(self, answer: Message | Exception) -> None:
        if self._answer is None or self._answer.done():
            return
        if isinstance(answer, Message):
            self._answer.set_result(answer)
        else:
            self._answer.set_exception(answer)


def _request(
    url: str, headers: Mapping[str, str], body: bytes
) -> tuple[_Origin, bytes]:
    parts = urlsplit(url)
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("no http URL")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if _PLAIN.fullmatch(target) is None:
        target = quote(target, safe=_URL_CHARACTERS)
    lines = [f"POST {target} HTTP/1.1", f"host: {parts.netloc.rpartition('@')[2]}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if parts.username is not None:
        lines.append(f"authorization: Basic {_login(parts)}")
    lines.append(f"content-length: {len(body)}\r\n\r\n")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return (parts.scheme, host, port), "\r\n".join(lines).encode() + body


def _login(parts: SplitResult) -> str:
    name, password = unquote(parts.username or ""), unquote(parts.password or "")
    return b64encode(f"{name}:{password}".encode()).decode()
