"""The transport against plain servers that answer, hang up or keep silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import certifi
import pytest
import uvloop

from clarion.runtime.http.transport import Answer, Failure, Limits, Transport
from clarion.runtime.testing import wait_until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-One: 1\r\n\r\nok"
QUICK = Limits(
    timeout=timedelta(milliseconds=300), connect_timeout=timedelta(milliseconds=200)
)

Send = Callable[..., Awaitable[Answer]]


@dataclass
class Server:
    """Speaks as much HTTP/1.1 as a test wants: each request gets the next reply."""

    replies: list[bytes | None] = field(default_factory=list)
    """None: no reply and the connection stays; empty: a hang-up."""
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    closed: int = 0
    greets: bool = True
    url: str = ""

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        try:
            while self.greets:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                size = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                self.bodies.append(await reader.readexactly(size))
                reply = self.replies.pop(0) if self.replies else OK
                if reply is None:
                    await reader.read()
                    break
                writer.write(reply)
                await writer.drain()
                if not reply or b"close" in reply:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            self.closed += 1


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with listener:
        yield server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        yield running


@pytest.fixture
async def open_transport() -> AsyncIterator[Callable[..., Transport]]:
    opened: list[Transport] = []

    def open_one(origin: str, limits: Limits = QUICK) -> Transport:
        opened.append(Transport(origin, certifi.where(), limits))
        return opened[-1]

    yield open_one
    for transport in opened:
        await transport.close()


async def ask(transport: Transport, body: bytes = b"{}", lane: str = "high") -> Answer:
    answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def done(_context: Any, answer: Answer) -> None:
        answered.set_result(answer)

    transport.post("/x", ["content-type: text/plain"], body, done, lane=lane)
    async with asyncio.timeout(10):
        return await answered


def outcome(answer: Answer) -> tuple[Failure | None, str]:
    return answer.failure, answer.error


async def test_an_answer_has_status_head_and_body(
    server: Server, open_transport: Callable[..., Transport]
) -> None:
    answer = await ask(open_transport(server.url), b"question")
    assert (answer.status, answer.body, answer.error) == (200, b"ok", "")
    assert answer.header("x-ONE") == "1"
    assert answer.header("x-two") == ""
    assert answer.latency > timedelta(0)
    assert server.bodies == [b"question"]


async def test_connections_are_kept(
    server: Server, open_transport: Callable[..., Transport]
) -> None:
    transport = open_transport(server.url)
    for size in (0, 5, 3, 300_000, 1):
        assert (await ask(transport, b"x" * size)).status == 200
    assert [len(body) for body in server.bodies] == [0, 5, 3, 300_000, 1]
    assert server.connections == 1


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        (b"Retry-After: 7", 7, 7),
        # libcurl takes six hours for the most that anybody can mean.
        (b"Retry-After: Fri, 01 Jan 2100 00:00:00 GMT", 21_600, 21_600),
    ],
)
async def test_a_wait_is_understood_in_both_forms(
    server: Server,
    open_transport: Callable[..., Transport],
    header: bytes,
    least: int,
    most: int,
) -> None:
    server.replies = [
        b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n" + header + b"\r\n\r\n"
    ]
    answer = await ask(open_transport(server.url))
    assert answer.status == 503
    assert answer.retry_after is not None
    assert least <= answer.retry_after.total_seconds() <= most


async def test_an_answer_whose_body_breaks_off_keeps_its_status(
    server: Server, open_transport: Callable[..., Transport]
) -> None:
    server.replies = [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nclose: 1\r\n\r\nbeg"]
    answer = await ask(open_transport(server.url))
    assert (answer.status, answer.body, answer.failure) == (200, b"beg", None)
    assert answer.error == "partial_file"


async def test_nobody_listening_is_not_sent(
    server: Server, open_transport: Callable[..., Transport]
) -> None:
    refused = await ask(open_transport("http://127.0.0.1:1"))
    assert outcome(refused) == (Failure.NOT_SENT, "couldnt_connect")
    unknown = await ask(open_transport("http://no-such-host.invalid"))
    assert unknown.failure is Failure.NOT_SENT


async def test_a_hang_up_before_the_request_is_not_sent(
    server: Server, open_transport: Callable[..., Transport]
) -> None:
    server.greets = False
    answer = await ask(open_transport(server.url.replace("http:", "https:")))
    assert answer.failure is Failure.NOT_SENT


async def test_a_handshake_without_end_is_not_sent(
    open_transport: Callable[..., Transport],
) -> None:
    async def keep_silent(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(keep_silent, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        transport = open_transport(f"https://127.0.0.1:{port}")
        answer = await ask(transport)
        await transport.close()
    assert outcome(answer) == (Failure.NOT_SENT, "operation_timedout")


async def test_a_hang_up_after_reading_is_no_answer(
    server: Server, open_transport: Callable[..., Transport]
) -> None:
    server.replies = [b""]
    answer = await ask(open_transport(server.url))
    assert outcome(answer) == (Failure.NO_ANSWER, "got_nothing")
    assert len(server.bodies) == 1


async def test_a_used_connection_that_hangs_up_sends_nothing_twice(
    server: Server, open_transport: Callable[..., Transport]
) -> None:
    transport = open_transport(server.url)
    await ask(transport)
    server.replies = [b""]
    answer = await ask(transport, b"once")
    assert answer.failure is Failure.NO_ANSWER
    assert server.bodies.count(b"once") == 1
    assert (await ask(transport)).status == 200


async def test_a_silent_server_is_no_answer(
    server: Server, open_transport: Callable[..., Transport]
) -> None:
    server.replies = [None]
    answer = await ask(open_transport(server.url))
    assert outcome(answer) == (Failure.NO_ANSWER, "operation_timedout")


async def test_a_connection_closed_while_idle_is_replaced(
    server: Server, open_transport: Callable[..., Transport]
) -> None:
    transport = open_transport(server.url)
    server.replies = [OK.replace(b"X-One", b"X-Will-close")]
    await ask(transport)
    await wait_until(lambda: server.closed == 1)
    assert (await ask(transport)).status == 200
    assert len(server.bodies) == 2


async def test_a_connection_in_use_stays_when_an_idle_one_is_replaced(
    server: Server, open_transport: Callable[..., Transport]
) -> None:
    transport = open_transport(server.url, Limits(timeout=timedelta(seconds=5)))
    server.replies = [OK.replace(b"X-One", b"X-Will-close"), OK]
    await asyncio.gather(ask(transport), ask(transport))
    await wait_until(lambda: server.closed == 1)
    server.replies = [None]
    slow = asyncio.ensure_future(ask(transport))
    await wait_until(lambda: len(server.bodies) == 3)
    assert (await ask(transport)).status == 200
    assert transport.in_flight == 1
    await transport.close()
    assert outcome(await slow) == (Failure.NO_ANSWER, "closed")


async def test_the_high_lane_goes_first_when_requests_wait(
    server: Server, open_transport: Callable[..., Transport]
) -> None:
    transport = open_transport(server.url, Limits(in_flight=1))
    answers = asyncio.gather(
        *(
            ask(transport, lane.encode(), lane)
            for lane in ("low", "low", "medium", "high", "unheard", "high")
        )
    )
    await answers
    order = [body.decode() for body in server.bodies]
    assert order == ["low", "high", "high", "medium", "unheard", "low"]
    assert server.connections == 1


async def test_closing_answers_what_is_open(
    server: Server, open_transport: Callable[..., Transport]
) -> None:
    server.replies = [None]
    transport = open_transport(server.url, Limits(in_flight=1))
    first, second = (asyncio.ensure_future(ask(transport)) for _ in range(2))
    await wait_until(lambda: server.bodies)
    assert transport.in_flight == 1
    await transport.close()
    assert outcome(await first) == (Failure.NO_ANSWER, "closed")
    assert outcome(await second) == (Failure.NOT_SENT, "closed")
    assert outcome(await ask(transport)) == (Failure.NOT_SENT, "closed")


async def test_a_caller_that_raises_stops_nobody_else(
    server: Server, open_transport: Callable[..., Transport]
) -> None:
    transport = open_transport(server.url, Limits(in_flight=1))

    def fail(_context: Any, _answer: Answer) -> None:
        raise ZeroDivisionError

    transport.post("/x", [], b"1", fail)
    assert (await ask(transport)).status == 200


@pytest.mark.parametrize(
    "loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop]
)
def test_many_requests_at_once_are_answered_on_either_loop(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def run() -> tuple[int, int]:
        async with serving() as server:
            transport = Transport(server.url, certifi.where(), Limits(in_flight=8))
            answers = await asyncio.gather(*(ask(transport) for _ in range(100)))
            await transport.close()
            return sum(a.status == 200 for a in answers), server.connections

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        good, connections = runner.run(run())
    assert good == 100
    assert connections <= 8
