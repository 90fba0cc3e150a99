"""Webhooks by HTTP/1.1 on real sockets, answered by a real pipeline of interceptors."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import aiohttp
import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody
from yarl import URL

from clarion.api.channel.v1 import webhook_service_pb2 as pb
from clarion.api.channel.v1.webhook_service_pb2_grpc import (
    WebhookServiceServicer,
    add_WebhookServiceServicer_to_server,
)
from clarion.runtime import errors
from clarion.runtime.http import webhooks
from clarion.runtime.http.webhooks import HTTP_STATUS, MOST_BYTES, WebhookListener
from clarion.runtime.identity import current_service
from clarion.runtime.interceptors.deadline import time_left
from clarion.runtime.testing import capture_spans, serve, wait_until

PATH = "/webhooks/sms/twilio"


class Hooks(WebhookServiceServicer):
    """Remembers what came, answers or fails as it is told."""

    def __init__(self) -> None:
        self.came: list[tuple[pb.ReceiveWebhookRequest, dict[str, Any]]] = []
        self.error: Exception | None = None
        self.run: Callable[[], Awaitable[None]] | None = None

    async def ReceiveWebhook(self, request: Any, context: Any) -> Any:
        self.came.append((request, dict(context.invocation_metadata())))
        if self.run is not None:
            await self.run()
        if self.error is not None:
            raise self.error
        raw = HttpBody(content_type="text/xml", data=b"<Response/>")
        return pb.ReceiveWebhookResponse(raw=raw)


@pytest.fixture
def hooks() -> Hooks:
    return Hooks()


@asynccontextmanager
async def listening(hooks: Hooks) -> AsyncIterator[WebhookListener]:
    async with serve((add_WebhookServiceServicer_to_server, hooks)) as harness:
        listener = WebhookListener(harness, "127.0.0.1:0")
        await listener.start()
        yield listener
        await listener.stop(1)


@pytest.fixture
async def listener(hooks: Hooks) -> AsyncIterator[WebhookListener]:
    async with listening(hooks) as listener:
        yield listener


@pytest.fixture
async def http(listener: WebhookListener) -> AsyncIterator[aiohttp.ClientSession]:
    base = f"http://127.0.0.1:{listener.port}"
    async with aiohttp.ClientSession(base) as session:
        yield session


async def refusal(answer: aiohttp.ClientResponse) -> tuple[int, str]:
    body = await answer.json()
    return answer.status, body["details"][0]["reason"]


@asynccontextmanager
async def connected(
    listener: WebhookListener,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    yield reader, writer
    writer.close()


def posted(body: bytes, path: str = PATH) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: edge\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def test_what_is_posted_arrives_byte_for_byte(
    hooks: Hooks, listener: WebhookListener
) -> None:
    headers = {
        "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
        "X-Twilio-Signature": "signed",
        "X-Envoy-Original-Path": "/webhooks/sms/another",
    }
    body, path = b"a=%C3%A9&a=+", f"{PATH}?tenant=demo&x=%2F%20"
    url = URL(f"http://127.0.0.1:{listener.port}{path}", encoded=True)
    async with (
        aiohttp.ClientSession() as http,
        http.post(url, data=body, headers=headers) as answer,
    ):
        assert (answer.status, answer.content_type) == (200, "text/xml")
        assert await answer.read() == b"<Response/>"
    [(request, metadata)] = hooks.came
    assert (request.channel, request.provider) == ("sms", "twilio")
    assert request.raw.data == body
    assert request.raw.content_type == headers["Content-Type"]
    assert metadata["x-twilio-signature"] == "signed"
    assert metadata["x-envoy-original-path"] == path


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.InvalidSignatureError("no"), (403, "INVALID_SIGNATURE")),
        (errors.InvalidArgumentError.of("raw", "no"), (400, "INVALID_ARGUMENT")),
        (errors.NotFoundError.of("provider", "x"), (404, "NOT_FOUND")),
        (errors.UnavailableError("away"), (503, "DEPENDENCY_UNAVAILABLE")),
        (errors.OverloadedError("full"), (429, "OVERLOADED")),
        (RuntimeError("a bug"), (500, "INTERNAL")),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_an_error_is_answered_in_the_common_shape(
    hooks: Hooks,
    http: aiohttp.ClientSession,
    error: Exception,
    expected: tuple[int, str],
) -> None:
    hooks.error = error
    async with http.post(PATH) as answer:
        assert await refusal(answer) == expected
    hooks.error = None
    async with http.post(PATH) as answer:
        assert answer.status == 200


async def test_an_error_says_which_field_and_how_long_to_wait(
    hooks: Hooks, http: aiohttp.ClientSession
) -> None:
    hooks.error = errors.UnavailableError("away", retry_after=timedelta(seconds=1.5))
    async with http.post(PATH) as answer:
        assert answer.headers["retry-after"] == "2"
    hooks.error = errors.InvalidArgumentError.of("raw", "is not a web form")
    async with http.post(PATH) as answer:
        _, bad = (await answer.json())["details"]
    assert bad["field_violations"][0]["description"] == "is not a web form"


def test_every_status_of_grpc_has_one_of_http() -> None:
    assert set(HTTP_STATUS) == set(grpc.StatusCode)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/", (404, "NOT_FOUND")),
        ("POST", "/webhooks/sms", (404, "NOT_FOUND")),
        ("POST", f"{PATH}/more", (404, "NOT_FOUND")),
        ("POST", "/webhooks//twilio", (400, "INVALID_ARGUMENT")),
        ("GET", PATH, (405, "NOT_IMPLEMENTED")),
        ("PUT", PATH, (405, "NOT_IMPLEMENTED")),
    ],
)
async def test_only_posts_to_webhooks_are_taken(
    hooks: Hooks,
    http: aiohttp.ClientSession,
    method: str,
    path: str,
    expected: tuple[int, str],
) -> None:
    async with http.request(method, path) as answer:
        assert await refusal(answer) == expected
        assert answer.headers.get("allow") == ("POST" if expected[0] == 405 else None)
    assert not hooks.came


async def test_a_body_of_the_most_bytes_is_taken_and_a_larger_one_refused(
    hooks: Hooks, http: aiohttp.ClientSession
) -> None:
    async with http.post(PATH, data=io.BytesIO(b"x" * MOST_BYTES)) as answer:
        assert answer.status == 200
    async with http.post(PATH, data=io.BytesIO(b"x" * (MOST_BYTES + 1))) as answer:
        assert await refusal(answer) == (413, "REQUEST_TOO_LARGE")
    assert len(hooks.came) == 1


async def test_a_service_without_webhooks_says_so() -> None:
    async with serve() as harness:
        listener = WebhookListener(harness, "127.0.0.1:0")
        await listener.start()
        url = f"http://127.0.0.1:{listener.port}{PATH}"
        async with aiohttp.ClientSession() as session, session.post(url) as answer:
            assert await refusal(answer) == (501, "NOT_IMPLEMENTED")
        await listener.stop(1)


async def test_requests_in_one_piece_are_answered_in_order(
    hooks: Hooks, listener: WebhookListener
) -> None:
    async with connected(listener) as (reader, writer):
        writer.write(posted(b"one") + posted(b"two", "/elsewhere") + posted(b"three"))
        statuses = []
        for _ in range(3):
            head = await reader.readuntil(b"\r\n\r\n")
            statuses.append(head.split(b" ")[1])
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
    assert statuses == [b"200", b"404", b"200"]
    assert [request.raw.data for request, _ in hooks.came] == [b"one", b"three"]


async def test_a_body_in_chunks_is_put_together(
    hooks: Hooks, listener: WebhookListener
) -> None:
    async with connected(listener) as (reader, writer):
        writer.write(
            f"POST {PATH} HTTP/1.1\r\nhost: edge\r\n".encode()
            + b"transfer-encoding: chunked\r\n\r\n3\r\na=1\r\n2\r\n&b\r\n0\r\n\r\n"
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    [(request, _)] = hooks.came
    assert request.raw.data == b"a=1&b"


async def test_what_is_not_http_is_refused(
    hooks: Hooks, listener: WebhookListener
) -> None:
    async with connected(listener) as (reader, writer):
        writer.write(b"\x16\x03\x01 no\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.0 400")
    assert not hooks.came


async def test_what_does_not_arrive_in_time_is_given_up(
    hooks: Hooks, listener: WebhookListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "SECONDS", 0.1)
    async with connected(listener) as (reader, writer):
        writer.write(posted(b"all of it")[:-3])
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 504")
    assert not hooks.came


async def test_a_webhook_knows_its_deadline_service_and_trace(
    hooks: Hooks, http: aiohttp.ClientSession
) -> None:
    seen: list[tuple[float, str]] = []

    async def look() -> None:
        seen.append((time_left() or 0.0, current_service()))

    hooks.run = look
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    with capture_spans() as spans:
        async with http.post(PATH, headers=headers) as answer:
            assert answer.status == 200
    [span] = spans.finished
    assert f"{span.context.trace_id:x}" == trace.lstrip("0")
    [(left, service)] = seen
    assert 10 < left < webhooks.SECONDS
    assert service == "harness"


async def test_too_many_at_once_are_asked_to_come_again(
    hooks: Hooks, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "MOST_UNDER_WAY", 1)
    go_on = asyncio.Event()

    async def wait() -> None:
        await go_on.wait()

    hooks.run = wait
    first = asyncio.create_task(http.post(PATH).__aenter__())
    await wait_until(lambda: len(hooks.came) == 1)
    async with http.post(PATH) as answer:
        assert await refusal(answer) == (429, "OVERLOADED")
        assert answer.headers["retry-after"] == "1"
    go_on.set()
    assert (await first).status == 200
    async with http.post(PATH) as answer:
        assert answer.status == 200


async def test_who_hangs_up_does_not_undo_what_it_told(
    hooks: Hooks, listener: WebhookListener
) -> None:
    go_on, done = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        await go_on.wait()
        done.set()

    hooks.run = wait
    async with connected(listener) as (_, writer):
        writer.write(posted(b"one"))
        await wait_until(lambda: len(hooks.came) == 1)
    go_on.set()
    await asyncio.wait_for(done.wait(), 5)


async def test_a_stop_answers_what_is_under_way_and_takes_no_more(
    hooks: Hooks, listener: WebhookListener
) -> None:
    go_on = asyncio.Event()

    async def wait() -> None:
        await go_on.wait()

    hooks.run = wait
    async with connected(listener) as idle, connected(listener) as busy:
        busy[1].write(posted(b"one"))
        await wait_until(lambda: len(hooks.came) == 1)
        stopping = asyncio.create_task(listener.stop(5))
        assert await idle[0].read() == b""
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", listener.port)
        assert not stopping.done()
        go_on.set()
        assert (await busy[0].read()).startswith(b"HTTP/1.1 200")
        await stopping


async def test_a_stop_does_not_wait_longer_than_it_may(
    hooks: Hooks, listener: WebhookListener
) -> None:
    hooks.run = asyncio.Event().wait  # type: ignore[assignment]
    async with connected(listener) as (reader, writer):
        writer.write(posted(b"one"))
        await wait_until(lambda: len(hooks.came) == 1)
        await listener.stop(0.05)
        assert await reader.read() == b""


async def test_a_port_that_is_taken_is_an_error(listener: WebhookListener) -> None:
    async with serve() as harness:
        with pytest.raises(OSError):
            await WebhookListener(harness, f"127.0.0.1:{listener.port}").start()
