"""A small HTTP/2 server on h2: one write per read, and no task per request."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from typing import Any, cast

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from clarion.sandbox.exchange import Handler, Reply, Request
from clarion.sandbox.header_block import CachingDecoder, PlainEncoder

MAX_STREAMS = 1000
"""Concurrent streams of a connection, as APNs allows."""
MAX_BODY = 1 << 20
_STREAM_WINDOW = MAX_BODY
_CONNECTION_WINDOW = 1 << 30
_MAX_HEADERS = 16 * 1024

logger = logging.getLogger(__name__)

_CONFIG = h2.config.H2Configuration(
    client_side=False,
    header_encoding=None,
    # Both cost a third of a request; replies are ours and clients are adapters.
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
    validate_inbound_headers=False,
)


class Http2Protocol(asyncio.Protocol):
    """One connection. Registers itself in `connections` while it is open."""

    def __init__(self, handler: Handler, connections: set[Http2Protocol]) -> None:
        self._handler = handler
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._h2 = h2.connection.H2Connection(_CONFIG)
        self._h2.decoder = CachingDecoder(_MAX_HEADERS)
        self._h2.encoder = PlainEncoder()
        self._requests: dict[int, tuple[dict[str, str], list[bytes]]] = {}
        self._unsent: dict[int, bytes] = {}
        self._unacknowledged = 0
        self._paused = False
        self._waiting: deque[tuple[int, Reply]] = deque()
        self._closing = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)
        codes = h2.settings.SettingCodes
        self._h2.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                codes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
                codes.INITIAL_WINDOW_SIZE: _STREAM_WINDOW,
                codes.MAX_HEADER_LIST_SIZE: _MAX_HEADERS,
                codes.ENABLE_PUSH: 0,
            },
        )
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_CONNECTION_WINDOW)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._transport = None
        self._waiting.clear()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        while self._waiting and not self._paused:
            self._answer(*self._waiting.popleft())
        self._flush()

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError:
            logger.warning("http2 connection broke the protocol", exc_info=True)
            self._flush()
            self.close()
            return
        self._take(events)
        self._flush()
        if self._closing:
            self.close()

    def close(self) -> None:
        """Close now; what was written before is still sent."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    def _take(self, events: Iterable[h2.events.Event]) -> None:
        for event in events:
            if isinstance(event, h2.events.RequestReceived):
                stream_id = event.stream_id
                self._requests[stream_id] = (_text(event.headers), [])
            elif isinstance(event, h2.events.DataReceived):
                self._take_data(event)
            elif isinstance(event, h2.events.StreamEnded):
                self._take_request(event.stream_id)
            elif isinstance(event, h2.events.StreamReset):
                self._requests.pop(event.stream_id, None)
                self._unsent.pop(event.stream_id, None)
            elif isinstance(event, h2.events.WindowUpdated):
                self._send_rest(event.stream_id)
            elif isinstance(event, h2.events.ConnectionTerminated):
                self._closing = True
            if self._closing:
                # What the client sent after a hang-up never counts as arrived.
                return

    def _take_data(self, event: h2.events.DataReceived) -> None:
        self._unacknowledged += event.flow_controlled_length
        if self._unacknowledged > _CONNECTION_WINDOW // 2:
            self._h2.increment_flow_control_window(self._unacknowledged)
            self._unacknowledged = 0
        request = self._requests.get(event.stream_id)
        if request is not None:
            # The stream's window is never renewed, so a body cannot exceed MAX_BODY.
            request[1].append(event.data)

    def _take_request(self, stream_id: int) -> None:
        request = self._requests.pop(stream_id, None)
        if request is None:
            return
        headers, chunks = request
        path, _, query = headers.get(":path", "/").partition("?")
        try:
            reply = self._handler(
                Request(
                    headers.get(":method", ""), path, query, headers, b"".join(chunks)
                )
            )
        except Exception:
            logger.exception("request handler failed")
            reply = Reply(500)
        if reply.delay_seconds:
            self._loop.call_later(reply.delay_seconds, self._late, stream_id, reply)
        elif reply.hang_up:
            self._closing = True
        elif self._paused:
            self._waiting.append((stream_id, reply))
        else:
            self._answer(stream_id, reply)

    def _late(self, stream_id: int, reply: Reply) -> None:
        if self._transport is None or self._closing:
            return
        if reply.hang_up:
            self.close()
            return
        self._answer(stream_id, reply)
        self._flush()

    def _answer(self, stream_id: int, reply: Reply) -> None:
        headers = [(":status", str(reply.status)), *reply.headers]
        try:
            if not reply.body:
                self._h2.send_headers(stream_id, headers, end_stream=True)
                return
            headers.append(("content-length", str(len(reply.body))))
            self._h2.send_headers(stream_id, headers)
            self._unsent[stream_id] = reply.body
            self._send_body(stream_id)
        except (h2.exceptions.StreamClosedError, h2.exceptions.ProtocolError):
            # The client gave the stream up before its answer.
            self._unsent.pop(stream_id, None)

    def _send_rest(self, stream_id: int) -> None:
        waiting = [stream_id] if stream_id else list(self._unsent)
        for each in waiting:
            if each in self._unsent:
                self._send_body(each)

    def _send_body(self, stream_id: int) -> None:
        body = self._unsent.pop(stream_id)
        while body:
            room = min(
                self._h2.local_flow_control_window(stream_id),
                self._h2.max_outbound_frame_size,
            )
            if room <= 0:
                self._unsent[stream_id] = body
                return
            chunk, body = body[:room], body[room:]
            self._h2.send_data(stream_id, chunk, end_stream=not body)

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)


def _text(headers: Iterable[tuple[Any, Any]]) -> dict[str, str]:
    return {n.decode("latin-1"): v.decode("utf-8", "replace") for n, v in headers}
