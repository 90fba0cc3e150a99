from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from clarion.sandbox.http1_client import Http1Client
from clarion.sandbox.http1_frames import Http1Error

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """A server that says what it is told to, whatever it is asked."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: list[tuple[bytes, ...]] = []
        """Pieces of each answer in turn; the empty one closes the connection."""
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.connections = 0

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = head.rpartition("content-length: ")[2]
                self.bodies.append(await reader.readexactly(int(length)))
                self.heads.append(head)
                for piece in self.answers.pop(0) if self.answers else (OK,):
                    if not piece:
                        return
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.001)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    peer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield peer
    server.close()


@pytest.fixture
async def client() -> AsyncIterator[Http1Client]:
    client = Http1Client(timedelta(seconds=2))
    yield client
    client.close()
    await asyncio.sleep(0)


async def test_posts_one_after_another_share_a_connection(
    client: Http1Client, peer: Peer
) -> None:
    for number in range(3):
        body = b"%d" % number
        assert await client.post(f"{peer.url}/a?b=1#c", {"x-a": "b"}, body) == 200
    assert peer.connections == 1
    assert peer.bodies == [b"0", b"1", b"2"]
    host = peer.url.removeprefix("http://")
    assert peer.heads[0] == (
        f"POST /a?b=1 HTTP/1.1\r\nhost: {host}\r\nx-a: b\r\ncontent-length: 1\r\n\r\n"
    )


async def test_posts_at_once_have_a_connection_each(
    client: Http1Client, peer: Peer
) -> None:
    posts = (client.post(peer.url, {}, b"") for _ in range(5))
    assert await asyncio.gather(*posts) == [200] * 5
    assert peer.connections == 5


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n",),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 204 \r\n\r\n"),
        tuple(bytes((byte,)) for byte in b"HTTP/1.1 204 A\r\nb:c\r\n\r\n"),
        (b"HTTP/1.1 204 A\r\nTransfer-Encoding: chunked\r\n\r\n",),
    ],
    ids=["plain", "continue", "bytes", "no-body"],
)
async def test_an_answer_may_come_in_any_form(
    client: Http1Client, peer: Peer, pieces: tuple[bytes, ...]
) -> None:
    peer.answers = [pieces]
    assert await client.post(peer.url, {}, b"x") == 204
    assert await client.post(peer.url, {}, b"x") == 200
    assert peer.connections == 1


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",),
        (b"HTTP/1.1 503 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nab",),
        (b"HTTP/1.1 503 No\r\n\r\nuntil ", b"the end", b""),
        (b"HTTP/1.0 503 No\r\nContent-Length: 2\r\n\r\nab",),
        (b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nab and more", b""),
    ],
    ids=["chunked", "close", "until-end", "old", "too-much"],
)
async def test_what_may_not_be_used_again_is_not(
    client: Http1Client, peer: Peer, pieces: tuple[bytes, ...]
) -> None:
    peer.answers = [pieces]
    assert await client.post(peer.url, {}, b"x") == 503
    assert await client.post(peer.url, {}, b"x") == 200
    assert peer.connections == (1 if b"chunked" in pieces[0] else 2)


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        ((b"",), ConnectionResetError),
        ((b"HTTP/1.1 200 OK\r\nContent-Le", b""), ConnectionResetError),
        (
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", b""),
            ConnectionResetError,
        ),
        (
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\na", b""),
            ConnectionResetError,
        ),
        ((b"220 mail.example.com ESMTP\r\n\r\n",), Http1Error),
        ((b"HTTP/1.1 999 Odd\r\n\r\n",), Http1Error),
        ((b"\x00" * 70_000,), Http1Error),
    ],
)
async def test_an_answer_that_breaks_off_or_is_none_is_an_error(
    client: Http1Client, peer: Peer, pieces: tuple[bytes, ...], error: type[Exception]
) -> None:
    peer.answers = [pieces]
    with pytest.raises(error):
        await client.post(peer.url, {}, b"x")
    assert await client.post(peer.url, {}, b"x") == 200
    assert peer.connections == 2


async def test_a_silent_server_is_left_in_time(peer: Peer) -> None:
    client = Http1Client(timedelta(milliseconds=50))
    peer.answers = [()]
    with pytest.raises(TimeoutError):
        await client.post(peer.url, {}, b"x")
    assert await client.post(peer.url, {}, b"x") == 200
    assert peer.connections == 2
    client.close()


async def test_a_connection_that_was_closed_meanwhile_is_not_used(
    client: Http1Client, peer: Peer, wait_until: Any
) -> None:
    peer.answers = [(OK, b"")]
    await client.post(peer.url, {}, b"x")
    await wait_until(lambda: not client._open)
    assert await client.post(peer.url, {}, b"x") == 200
    assert peer.connections == 2


async def test_nobody_there_is_an_error(client: Http1Client) -> None:
    with pytest.raises(ConnectionRefusedError):
        await client.post("http://127.0.0.1:9/", {}, b"")


@pytest.mark.parametrize("url", ["", "ftp://a/b", "http://", "http://a:99999/"])
async def test_what_is_no_url_is_refused(client: Http1Client, url: str) -> None:
    with pytest.raises(ValueError):
        await client.post(url, {}, b"")


async def test_odd_characters_and_a_login_travel_as_they_should(
    client: Http1Client, peer: Peer
) -> None:
    url = peer.url.replace("http://", "http://ada:s%20p@") + "/ü x?q=%20é"
    await client.post(url, {}, b"")
    [head] = peer.heads
    assert head.startswith("POST /%C3%BC%20x?q=%20%C3%A9 HTTP/1.1\r\nhost: 127.0.0.1:")
    assert "authorization: Basic YWRhOnMgcA==" in head
