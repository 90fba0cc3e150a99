"""A small HTTP/2 server (RFC 9113): one write per read, and no task per request."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import cast

from hpack.exceptions import HPACKError, OversizedHeaderListError

from clarion.sandbox import http2_frames as wire
from clarion.sandbox.exchange import Handler, Reply, Request
from clarion.sandbox.header_block import NO_TABLE, CachingDecoder, encoded
from clarion.sandbox.http2_frames import Code, FrameCutter, Http2Error, Setting

MAX_STREAMS = 1000
"""Concurrent streams of a connection, as APNs allows."""
MAX_BODY = 1 << 20
_CONNECTION_WINDOW = 1 << 30
_MAX_HEADERS = 16 * 1024

logger = logging.getLogger(__name__)

_GREETING = wire.settings_frame(
    {
        Setting.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
        Setting.INITIAL_WINDOW_SIZE: MAX_BODY,
        Setting.MAX_HEADER_LIST_SIZE: _MAX_HEADERS,
    }
) + wire.window_update(0, _CONNECTION_WINDOW)


class _Stream:
    """A request being read or answered."""

    __slots__ = ("chunks", "headers", "is_read", "room", "size", "unsent")

    def __init__(self, headers: dict[str, str], room: int) -> None:
        self.headers = headers
        self.chunks: list[bytes] = []
        self.size = 0
        self.is_read = False
        self.room = room
        """Bytes of the answer that the client takes now."""
        self.unsent = b""


class Http2Protocol(asyncio.Protocol):
    """One connection. Registers itself in `connections` while it is open."""

    def __init__(self, handler: Handler, connections: set[Http2Protocol]) -> None:
        self._handler = handler
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._cutter = FrameCutter()
        self._decoder = CachingDecoder(_MAX_HEADERS)
        self._streams: dict[int, _Stream] = {}
        self._last_stream = 0
        self._block: tuple[int, int, bytes] | None = None
        """Stream, flags and start of a header block that goes on."""
        self._room = wire.USUAL_WINDOW
        self._room_of_streams = wire.USUAL_WINDOW
        self._table_note = b""
        self._unacknowledged = 0
        self._out: list[bytes] = []
        self._paused = False
        self._waiting: deque[tuple[int, Reply]] = deque()
        self._closing = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)
        self._transport.write(_GREETING)

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
            for kind, flags, stream, payload in self._cutter.frames(data):
                self._take(kind, flags, stream, payload)
                if self._closing:
                    # What the client sent after a hang-up never counts as arrived.
                    break
        except Http2Error as error:
            logger.warning("http2 connection broke the protocol", exc_info=True)
            self._out.append(wire.goodbye(self._last_stream, error.code))
            self._closing = True
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

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._block is not None and kind != wire.CONTINUATION:
            raise Http2Error(Code.PROTOCOL_ERROR, "header block broken off")
        if kind == wire.HEADERS:
            self._take_block(stream, flags, wire.content(flags, payload), flags)
        elif kind == wire.DATA:
            self._take_data(stream, flags, payload)
        elif kind == wire.WINDOW_UPDATE:
            self._take_room(stream, wire.word(payload))
        elif kind == wire.CONTINUATION:
            if self._block is None or self._block[0] != stream:
                raise Http2Error(Code.PROTOCOL_ERROR, "nothing to continue")
            _, first_flags, start = self._block
            self._take_block(stream, first_flags, start + payload, flags)
        elif kind == wire.RST_STREAM:
            self._known(stream)
            self._streams.pop(stream, None)
        else:
            self._take_other(kind, flags, payload)

    def _take_other(self, kind: int, flags: int, payload: bytes) -> None:
        """Takes what is about the connection; kinds that nobody knows say nothing."""
        if kind == wire.SETTINGS:
            self._take_settings(flags, payload)
        elif kind == wire.PING:
            if not flags & wire.ACK:
                self._out.append(wire.frame(wire.PING, wire.ACK, 0, payload))
        elif kind == wire.GOAWAY:
            self._closing = True
        elif kind == wire.PUSH_PROMISE:
            raise Http2Error(Code.PROTOCOL_ERROR, "a client cannot push")

    def _known(self, stream: int) -> None:
        if stream > self._last_stream:
            raise Http2Error(Code.PROTOCOL_ERROR, "stream was never opened")

    def _take_block(self, number: int, first: int, block: bytes, flags: int) -> None:
        if not flags & wire.END_HEADERS:
            if len(block) > _MAX_HEADERS:
                raise Http2Error(Code.ENHANCE_YOUR_CALM, "header block too large")
            self._block = number, first, block
            return
        self._block = None
        try:
            fields = self._decoder.fields(block)
        except OversizedHeaderListError as exc:
            raise Http2Error(Code.ENHANCE_YOUR_CALM, "headers too large") from exc
        except HPACKError as exc:
            raise Http2Error(Code.COMPRESSION_ERROR, "bad header block") from exc
        is_end = first & wire.END_STREAM
        stream = self._streams.get(number)
        if stream is None:
            stream = self._open(number, fields)
        elif stream.is_read or not is_end:
            raise Http2Error(Code.PROTOCOL_ERROR, "headers after the request")
        # Otherwise they are trailers, of which nobody here makes use.
        if is_end and stream is not None:
            self._take_request(number, stream)

    def _open(self, number: int, fields: list[tuple[bytes, bytes]]) -> _Stream | None:
        if number <= self._last_stream:
            raise Http2Error(Code.STREAM_CLOSED, "headers in a stream that is over")
        if not number & 1:
            raise Http2Error(Code.PROTOCOL_ERROR, "stream of a server")
        self._last_stream = number
        if len(self._streams) >= MAX_STREAMS:
            self._out.append(wire.reset(number, Code.REFUSED_STREAM))
            return None
        headers = {
            name.decode("latin-1"): value.decode("utf-8", "replace")
            for name, value in fields
        }
        stream = self._streams[number] = _Stream(headers, self._room_of_streams)
        return stream

    def _take_data(self, number: int, flags: int, payload: bytes) -> None:
        self._unacknowledged += len(payload)
        if self._unacknowledged > _CONNECTION_WINDOW // 2:
            self._out.append(wire.window_update(0, self._unacknowledged))
            self._unacknowledged = 0
        stream = self._streams.get(number)
        if stream is None:
            self._known(number)
            return
        if stream.is_read:
            raise Http2Error(Code.STREAM_CLOSED, "data after the request")
        # The stream's window is never renewed, so a body cannot exceed it.
        stream.size += len(payload)
        if stream.size > MAX_BODY:
            raise Http2Error(Code.FLOW_CONTROL_ERROR, "body too large")
        stream.chunks.append(wire.content(flags & wire.PADDED, payload))
        if flags & wire.END_STREAM:
            self._take_request(number, stream)

    def _take_settings(self, flags: int, payload: bytes) -> None:
        if flags & wire.ACK:
            return
        for name, value in wire.settings_of(payload):
            if name == Setting.INITIAL_WINDOW_SIZE:
                more = value - self._room_of_streams
                self._room_of_streams = value
                for stream in self._streams.values():
                    stream.room += more
            elif name == Setting.HEADER_TABLE_SIZE and value < wire.USUAL_TABLE:
                # A smaller table has to be answered in the next block (RFC 7541, 4.2).
                self._table_note = NO_TABLE
        self._out.append(wire.frame(wire.SETTINGS, wire.ACK, 0))
        self._send_waiting()

    def _take_room(self, number: int, more: int) -> None:
        if not more:
            raise Http2Error(Code.PROTOCOL_ERROR, "window grows by nothing")
        if number == 0:
            self._room += more
            room = self._room
        else:
            self._known(number)
            stream = self._streams.get(number)
            if stream is None:
                return
            stream.room += more
            room = stream.room
        if room > wire.MAX_WINDOW:
            raise Http2Error(Code.FLOW_CONTROL_ERROR, "window too large")
        self._send_waiting()

    def _take_request(self, number: int, stream: _Stream) -> None:
        stream.is_read = True
        headers = stream.headers
        path, _, query = headers.get(":path", "/").partition("?")
        body = b"".join(stream.chunks)
        stream.chunks.clear()
        try:
            reply = self._handler(
                Request(headers.get(":method", ""), path, query, headers, body)
            )
        except Exception:
            logger.exception("request handler failed")
            reply = Reply(500)
        if reply.delay_seconds:
            self._loop.call_later(reply.delay_seconds, self._late, number, reply)
        elif reply.hang_up:
            self._closing = True
        elif self._paused:
            self._waiting.append((number, reply))
        else:
            self._answer(number, reply)

    def _late(self, number: int, reply: Reply) -> None:
        if self._transport is None or self._closing:
            return
        if reply.hang_up:
            self.close()
            return
        self._answer(number, reply)
        self._flush()

    def _answer(self, number: int, reply: Reply) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return  # the client gave it up before its answer
        headers = [(":status", str(reply.status)), *reply.headers]
        flags = wire.END_HEADERS
        if reply.body:
            headers.append(("content-length", str(len(reply.body))))
        else:
            flags |= wire.END_STREAM
            del self._streams[number]
        block = self._table_note + encoded(headers)
        self._table_note = b""
        self._out.append(wire.frame(wire.HEADERS, flags, number, block))
        if reply.body:
            stream.unsent = reply.body
            self._send_body(number, stream)

    def _send_waiting(self) -> None:
        waiting = [item for item in self._streams.items() if item[1].unsent]
        for number, stream in waiting:
            self._send_body(number, stream)

    def _send_body(self, number: int, stream: _Stream) -> None:
        """Sends what there is room for."""
        while stream.unsent:
            room = min(stream.room, self._room, wire.MAX_FRAME)
            if room <= 0:
                return
            chunk, stream.unsent = stream.unsent[:room], stream.unsent[room:]
            stream.room -= len(chunk)
            self._room -= len(chunk)
            flags = 0 if stream.unsent else wire.END_STREAM
            self._out.append(wire.frame(wire.DATA, flags, number, chunk))
        del self._streams[number]

    def _flush(self) -> None:
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
        self._out.clear()
