from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest

from clarion.sandbox.exchange import Reply, Request
from clarion.sandbox.http1 import MAX_BODY, Http1Protocol

POST = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"


class Server:
    """What was asked, and what is answered to a path."""

    def __init__(self) -> None:
        self.got: list[Request] = []
        self.replies: dict[str, Reply] = {}
        self.connections: set[Http1Protocol] = set()
        self.port = 0

    def handle(self, request: Request) -> Reply:
        self.got.append(request)
        if request.path == "/broken":
            raise RuntimeError
        return self.replies.get(request.path, Reply(200, request.path.encode()))

    async def talk(self, *pieces: bytes, end: bool = True) -> bytes:
        """Everything that is answered until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if end:
                writer.write_eof()
            async with asyncio.timeout(5):
                return await reader.read()
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    listener = await asyncio.get_running_loop().create_server(
        lambda: Http1Protocol(server.handle, server.connections), "127.0.0.1", 0
    )
    server.port = listener.sockets[0].getsockname()[1]
    yield server
    listener.close()
    for connection in list(server.connections):
        connection.abort()


async def test_requests_of_a_pipeline_are_answered_in_order(server: Server) -> None:
    server.replies["/slow"] = Reply(200, b"slow", delay_seconds=0.02)
    asked = b"".join(
        b"GET %s HTTP/1.1\r\n\r\n" % path for path in (b"/slow", b"/b", b"/c")
    )
    answered = await server.talk(
        asked + b"GET /d HTTP/1.1\r\nConnection: close\r\n\r\n", end=False
    )
    assert [part.rpartition(b"\r\n\r\n")[2] for part in answered.split(b"HTTP/1.1 ")][
        1:
    ] == [b"slow", b"/b", b"/c", b"/d"]
    assert b"connection: close" in answered


@pytest.mark.parametrize(
    "request_bytes",
    [
        POST + b"abc",
        b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"1\r\na\r\n2;x=y\r\nbc\r\n0\r\nTrailer: t\r\n\r\n",
        b"POST http://localhost:1/a HTTP/1.1\r\nContent-Length:3\r\n\r\nabc",
    ],
    ids=["length", "chunked", "absolute"],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_a_request_may_come_in_pieces_of_any_size(
    server: Server, request_bytes: bytes, size: int
) -> None:
    cut = [request_bytes[at : at + size] for at in range(0, len(request_bytes), size)]
    assert (await server.talk(*cut)).endswith(b"content-length: 2\r\n\r\n/a")
    [request] = server.got
    assert (request.method, request.path, request.body) == ("POST", "/a", b"abc")


async def test_headers_and_query_are_passed_on(server: Server) -> None:
    await server.talk(
        b"GET /a?b=c%20d HTTP/1.1\r\nX-Name:  caf\xc3\xa9 \r\nX-Two: 1\r\nx-two: 2\r\n"
        b"\r\n"
    )
    [request] = server.got
    assert (request.path, request.query) == ("/a", "b=c%20d")
    assert request.headers == {"x-name": "café", "x-two": "1, 2"}


async def test_who_waits_for_leave_to_send_a_body_gets_it_once(server: Server) -> None:
    head = POST.replace(b"Host: x", b"Expect: 100-continue")
    answered = await server.talk(head, b"a", b"bc")
    assert answered.count(b"100 Continue") <= 1
    assert answered.endswith(b"/a")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(head)
    assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
    writer.close()


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (b"\x16\x03\x01 nonsense\r\n\r\n", 400),
        (b"GET /a\r\n\r\n", 400),
        (b"GET /a SMTP/1.1\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\nbad name: x\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\n" + b"a" * 70_000, 431),
        (b"POST /a HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc", 400),
        (b"POST /a HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", 400),
        (b"POST /a HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1), 413),
        (b"POST /a HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxx\r\n", 400),
        (b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 400),
        (b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", 413),
        (
            b"POST /a HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n"
            b"abc",
            400,
        ),
    ],
)
async def test_what_is_no_request_is_refused_and_the_connection_closed(
    server: Server, asked: bytes, status: int
) -> None:
    answered = await server.talk(asked, end=False)
    assert answered.startswith(b"HTTP/1.1 %d " % status)
    assert server.got == []


async def test_compressed_bodies_are_unpacked(server: Server) -> None:
    body = gzip.compress(b"hello")
    head = b"POST /a HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    await server.talk(head % len(body) + body)
    assert server.got[0].body == b"hello"


async def test_head_and_no_content_are_answered_without_a_body(server: Server) -> None:
    server.replies["/none"] = Reply(204, b"")
    answered = await server.talk(
        b"HEAD /a HTTP/1.1\r\n\r\nPOST /none HTTP/1.0\r\n\r\n", end=False
    )
    assert answered == (
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
        b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"
    )


async def test_a_handler_that_fails_answers_500_and_goes_on(server: Server) -> None:
    answered = await server.talk(b"GET /broken HTTP/1.1\r\n\r\nGET /a HTTP/1.1\r\n\r\n")
    assert answered.startswith(b"HTTP/1.1 500 ")
    assert answered.endswith(b"/a")


@pytest.mark.parametrize("delay_seconds", [0.0, 0.01])
async def test_a_hang_up_answers_what_came_before_and_nothing_more(
    server: Server, delay_seconds: float
) -> None:
    server.replies["/gone"] = Reply(0, hang_up=True, delay_seconds=delay_seconds)
    paths = (b"/a", b"/gone", b"/after")
    asked = b"".join(b"GET %s HTTP/1.1\r\n\r\n" % path for path in paths)
    assert (await server.talk(asked, end=False)).endswith(b"\r\n\r\n/a")
    assert [request.path for request in server.got] == ["/a", "/gone"]


async def test_a_client_that_leaves_during_the_wait_harms_nobody(
    server: Server,
) -> None:
    server.replies["/slow"] = Reply(200, b"slow", delay_seconds=0.02)
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /slow HTTP/1.1\r\n\r\n")
    await writer.drain()
    writer.transport.abort()
    asked = b"GET /slow HTTP/1.1\r\nConnection: close\r\n\r\n"
    assert (await server.talk(asked, end=False)).endswith(b"slow")
