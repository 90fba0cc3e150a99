from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest

from clarion.sandbox import http2_frames as wire
from clarion.sandbox.exchange import Reply, Request
from clarion.sandbox.header_block import encoded
from clarion.sandbox.http2 import MAX_BODY, MAX_STREAMS, Http2Protocol

REQUEST = [
    *((":method", "POST"), (":scheme", "https"), (":authority", "x")),
    *((":path", "/a?b=c"), ("apns-topic", "app")),
]
BLOCK = encoded(REQUEST)


class Pipe:
    """A transport whose other end is h2's client."""

    def __init__(self, handler: Callable[[Request], Reply]) -> None:
        self.written = b""
        self.is_closed = False
        self.server = Http2Protocol(handler, set())
        config = h2.config.H2Configuration(header_encoding="utf-8")
        self.client = h2.connection.H2Connection(config)
        self.server.connection_made(self)  # type: ignore[arg-type]

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def exchange(self, *, piece: int = 1 << 20) -> list[Any]:
        data = self.client.data_to_send()
        for at in range(0, len(data), piece):
            self.server.data_received(data[at : at + piece])
        answer, self.written = self.written, b""
        return self.client.receive_data(answer)

    def send_raw(self, *frames: bytes) -> bytes:
        self.written = b""
        self.server.data_received(b"".join(frames))
        return self.written


class Echo:
    """Keeps requests and answers each with its own body."""

    def __init__(self) -> None:
        self.got: list[Request] = []
        self.delay_seconds = 0.0

    def __call__(self, request: Request) -> Reply:
        self.got.append(request)
        return Reply(200, request.body, delay_seconds=self.delay_seconds)


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def pipe(echo: Echo) -> Pipe:
    pipe = Pipe(echo)
    pipe.client.initiate_connection()
    return pipe


def headers(flags: int, block: bytes = BLOCK, stream: int = 1) -> bytes:
    return wire.frame(wire.HEADERS, flags, stream, block)


def data_of(events: list[Any]) -> bytes:
    return b"".join(e.data for e in events if isinstance(e, h2.events.DataReceived))


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
async def test_a_request_is_read_however_it_is_cut(
    pipe: Pipe, echo: Echo, piece: int
) -> None:
    pipe.client.send_headers(1, REQUEST)
    pipe.client.send_data(1, b"hello", end_stream=True)
    pipe.client.send_headers(3, REQUEST, end_stream=True)
    events = pipe.exchange(piece=piece)
    assert data_of(events) == b"hello"
    ended = [e.stream_id for e in events if isinstance(e, h2.events.StreamEnded)]
    assert ended == [1, 3]
    first = echo.got[0]
    assert (first.method, first.path, first.query) == ("POST", "/a", "b=c")
    assert first.headers["apns-topic"] == "app"
    assert [request.body for request in echo.got] == [b"hello", b""]


async def test_padding_priority_continuation_and_trailers_are_understood(
    pipe: Pipe, echo: Echo
) -> None:
    pipe.exchange()
    first = b"\x03" + bytes(5) + BLOCK[:9] + bytes(3)
    pipe.send_raw(
        headers(wire.PADDED | wire.WITH_PRIORITY, first),
        wire.frame(wire.CONTINUATION, 0, 1, BLOCK[9:20]),
        wire.frame(wire.CONTINUATION, wire.END_HEADERS, 1, BLOCK[20:]),
        wire.frame(wire.PRIORITY, 0, 1, bytes(5)),
        wire.frame(wire.DATA, wire.PADDED, 1, b"\x04body" + bytes(4)),
        wire.frame(0x77, 0, 1, b"a kind of tomorrow"),
        headers(wire.END_HEADERS | wire.END_STREAM, encoded([("x", "y")])),
    )
    [request] = echo.got
    assert (request.path, request.body) == ("/a", b"body")
    assert not pipe.is_closed


async def test_an_answer_goes_on_when_the_client_has_room_again(pipe: Pipe) -> None:
    codes = h2.settings.SettingCodes
    pipe.client.update_settings({codes.INITIAL_WINDOW_SIZE: 10})
    pipe.exchange()
    sent = bytes(range(256)) * 100
    pipe.client.send_headers(1, REQUEST)
    pipe.client.send_data(1, sent[:16_000])
    pipe.client.send_data(1, sent[16_000:], end_stream=True)
    got = data_of(pipe.exchange())
    assert got == sent[:10]
    pipe.client.update_settings({codes.INITIAL_WINDOW_SIZE: 15})
    got += data_of(pipe.exchange())
    assert got == sent[:15]
    pipe.client.increment_flow_control_window(1 << 20, 1)
    assert got + data_of(pipe.exchange()) == sent


async def test_a_ping_and_a_smaller_table_are_answered(pipe: Pipe) -> None:
    codes = h2.settings.SettingCodes
    pipe.client.update_settings({codes.HEADER_TABLE_SIZE: 0})
    pipe.client.ping(b"12345678")
    events = pipe.exchange()
    assert any(isinstance(e, h2.events.PingAckReceived) for e in events)
    pipe.client.send_headers(1, REQUEST, end_stream=True)
    # h2 raises when the next block says nothing of the table.
    events = pipe.exchange()
    assert any(isinstance(e, h2.events.ResponseReceived) for e in events)


async def test_a_stream_that_was_given_up_is_not_answered(
    pipe: Pipe, echo: Echo
) -> None:
    echo.delay_seconds = 60
    pipe.client.send_headers(1, REQUEST, end_stream=True)
    pipe.exchange()
    pipe.client.reset_stream(1)
    pipe.exchange()
    pipe.server._late(1, Reply(200, b"late"))
    assert pipe.written == b""


async def test_more_streams_than_allowed_are_refused_one_by_one(
    pipe: Pipe, echo: Echo
) -> None:
    pipe.exchange()
    opened = [headers(wire.END_HEADERS, stream=2 * n + 1) for n in range(MAX_STREAMS)]
    assert pipe.send_raw(*opened) == b""
    refused = 2 * MAX_STREAMS + 1
    answer = pipe.send_raw(headers(wire.END_HEADERS, stream=refused))
    assert answer == wire.reset(refused, wire.Code.REFUSED_STREAM)
    pipe.send_raw(wire.frame(wire.DATA, wire.END_STREAM, 1, b"still served"))
    assert [request.body for request in echo.got] == [b"still served"]


ENDED = wire.END_HEADERS | wire.END_STREAM
FULL = wire.frame(wire.DATA, 0, 1, bytes(wire.MAX_FRAME))
BROKEN = {
    "data of no stream": ([wire.frame(wire.DATA, 0, 0, b"x")], 1),
    "data of a stream to come": ([wire.frame(wire.DATA, 0, 5, b"x")], 1),
    "data after the end": ([headers(ENDED), wire.frame(wire.DATA, 0, 1, b"x")], 5),
    "even stream": ([headers(ENDED, stream=4)], 1),
    "headers after the end": ([headers(ENDED), headers(ENDED)], 1),
    "headers of a stream before": ([headers(ENDED, stream=3), headers(ENDED)], 5),
    "bad block": ([headers(ENDED, b"\xff\xff\xff\xff\xff\xff\xff\xff")], 9),
    "empty padded block": ([headers(ENDED | wire.PADDED, b"")], 1),
    "large headers": ([headers(ENDED, encoded([("x", "y")] * 600))], 11),
    "endless block": (
        [
            headers(0, bytes(16_000)),
            wire.frame(wire.CONTINUATION, 0, 1, bytes(16_000)),
        ],
        11,
    ),
    "block broken off": ([headers(0), wire.frame(wire.PING, 0, 0, bytes(8))], 1),
    "lone continuation": ([wire.frame(wire.CONTINUATION, 4, 1, b"")], 1),
    "large body": ([headers(4), *[FULL] * (MAX_BODY // wire.MAX_FRAME + 1)], 3),
    "large frame": ([wire.frame(wire.DATA, 0, 1, bytes(wire.MAX_FRAME + 1))], 6),
    "short ping": ([wire.frame(wire.PING, 0, 0, b"x")], 6),
    "settings of a stream": ([wire.frame(wire.SETTINGS, 0, 1)], 1),
    "half a setting": ([wire.frame(wire.SETTINGS, 0, 0, b"abc")], 6),
    "window of nothing": ([wire.window_update(0, 0)], 1),
    "window too large": ([wire.window_update(0, wire.MAX_WINDOW)], 3),
    "reset of a stream to come": ([wire.reset(5, wire.Code.REFUSED_STREAM)], 1),
    "push": ([wire.frame(wire.PUSH_PROMISE, 4, 1, bytes(4))], 1),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_who_breaks_the_protocol_is_told_and_left(
    pipe: Pipe, echo: Echo, name: str
) -> None:
    echo.delay_seconds = 60
    frames, code = BROKEN[name]
    pipe.exchange()
    answer = pipe.send_raw(*frames)
    assert answer[-4:] == code.to_bytes(4, "big")
    assert answer[-17:][3] == wire.GOAWAY
    assert pipe.is_closed


async def test_who_does_not_speak_http2_is_left(echo: Echo) -> None:
    pipe = Pipe(echo)
    pipe.send_raw(b"GET / HTTP/1.1\r\n")
    assert pipe.is_closed
