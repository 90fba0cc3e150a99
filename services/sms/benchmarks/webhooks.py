"""What one of Twilio's status callbacks costs the service, 230 of them a second.

    python services/sms/benchmarks/webhooks.py [callbacks]

Half of them are on the way, half are receipts. ``empty`` answers without looking: that
is gRPC, or HTTP/1.1 as the edge passes it on, with the interceptors. CPU is that of the
serving process.
"""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import aiohttp
import grpc
import uvloop
from google.api.httpbody_pb2 import HttpBody
from twilio.request_validator import RequestValidator
from yarl import URL

from clarion.api.channel.v1 import webhook_service_pb2 as pb
from clarion.api.channel.v1.webhook_service_pb2_grpc import (
    WebhookServiceServicer,
    WebhookServiceStub,
    add_WebhookServiceServicer_to_server,
)
from clarion.runtime.clock import SystemClock
from clarion.runtime.config import Secret
from clarion.runtime.delivery.in_memory import make_job
from clarion.runtime.delivery.reached import InMemoryReached
from clarion.runtime.http.webhooks import WebhookListener
from clarion.runtime.jetstream import GroupPublisher, InMemoryPublisher
from clarion.runtime.testing import serve
from clarion.sms.callback_url import CONNECTION_OVERRIDES, callback_url
from clarion.sms.receiving import Receiving
from clarion.sms.servicer import WebhookServicer
from clarion.sms.signature import SignatureCheck

PUBLIC_URL, TOKEN = "https://mesh.example.com", "token"
PAUSE = 1 / 230
FROM_THE_EDGE = {
    "content-type": "application/x-www-form-urlencoded",
    "user-agent": "TwilioProxy/1.1",
    "x-forwarded-for": "203.0.113.7",
    "x-forwarded-proto": "https",
    "x-request-id": "6f6c2f0a-0e0d-4a53-9d8e-6f3f3c1f7a11",
    "x-envoy-expected-rq-timeout-ms": "15000",
}


class Empty(WebhookServiceServicer):
    """Takes anything."""

    async def ReceiveWebhook(self, request: Any, context: Any) -> Any:
        return pb.ReceiveWebhookResponse()


class Nobody:
    """Stands for opt-outs and chains, which receipts of what arrived do not ask."""

    async def suppress(self, tenant: str, number: str, reason: str) -> None: ...
    async def lift(self, tenant: str, number: str) -> None: ...
    async def undelivered(self, tenant: str, delivery_id: str) -> None: ...


async def call(way: str, target: str, count: int) -> None:
    """Posts what the edge would pass on."""
    url = callback_url(PUBLIC_URL, make_job(channel="sms", type="order_shipped"))
    path = url.removeprefix(PUBLIC_URL).removesuffix(CONNECTION_OVERRIDES)
    validator = RequestValidator(TOKEN)

    async def post(number: int) -> None:
        status = "delivered" if number % 2 else "sent"
        sid = f"SM{number:032d}"
        form = {
            "AccountSid": "AC" + "0" * 32,
            "ApiVersion": "2010-04-01",
            "From": "+15005550006",
            "To": "+15550100001",
            "MessageSid": sid,
            "MessageStatus": status,
            "SmsSid": sid,
            "SmsStatus": status,
        }
        signed = validator.compute_signature(PUBLIC_URL + path, form)
        await send(path, signed, urlencode(form).encode())

    async def by_grpc(path: str, signed: str, body: bytes) -> None:
        raw = HttpBody(data=body)
        await stub.ReceiveWebhook(
            pb.ReceiveWebhookRequest(channel="sms", provider="twilio", raw=raw),
            metadata=(("x-twilio-signature", signed), ("x-envoy-original-path", path)),
            timeout=15,
        )

    async def by_http(path: str, signed: str, body: bytes) -> None:
        url = URL(f"http://{target}{path}", encoded=True)
        headers = FROM_THE_EDGE | {"x-twilio-signature": signed}
        async with session.post(url, data=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()

    send = by_grpc if way == "grpc" else by_http
    async with (
        grpc.aio.insecure_channel(target) as channel,
        aiohttp.ClientSession() as session,
    ):
        stub = WebhookServiceStub(channel)
        posts = []
        for number in range(count):
            posts.append(asyncio.create_task(post(number)))
            await asyncio.sleep(PAUSE)
        await asyncio.gather(*posts)


async def measure(way: str, name: str, servicer: object, count: int) -> None:
    async with serve((add_WebhookServiceServicer_to_server, servicer)) as harness:
        listener = WebhookListener(harness, "127.0.0.1:0")
        await listener.start()
        target = harness.target if way == "grpc" else f"127.0.0.1:{listener.port}"
        cpu = time.process_time()
        caller = await asyncio.create_subprocess_exec(
            sys.executable, __file__, str(count), way, target
        )
        assert await caller.wait() == 0
        each = (time.process_time() - cpu) / count * 1e6
        await listener.stop(1)
    sys.stdout.write(f"{way} {name:6} {each:6.0f} us CPU a callback\n")


async def main(count: int) -> None:
    spacing = timedelta(milliseconds=100)
    events: GroupPublisher[bytes] = GroupPublisher(
        InMemoryPublisher(), "events.sms", b"".join, spacing=spacing
    )
    nobody = Nobody()
    receiving = Receiving(
        *(events, nobody, {}, SystemClock(), nobody, InMemoryReached())
    )
    check = SignatureCheck(Secret(TOKEN), None)
    full = WebhookServicer(PUBLIC_URL, check, receiving)
    for _ in range(2):
        for way in ("grpc", "http"):
            await measure(way, "empty", Empty(), count)
            await measure(way, "full", full, count)
    await events.close()


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1500
    to_call = (
        call(sys.argv[2], sys.argv[3], number) if len(sys.argv) > 2 else main(number)
    )
    uvloop.run(to_call)
