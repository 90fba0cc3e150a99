"""The adapter against the sandbox's Twilio."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from clarion.runtime.config import Secret
from clarion.runtime.delivery import Outcome, OutcomeKind
from clarion.runtime.delivery.in_memory import make_job
from clarion.runtime.errors import UnavailableError
from clarion.runtime.testing import wait_until
from clarion.sandbox.testing import RunningSandbox
from clarion.sms.providers.twilio import TwilioProvider

ADA = "+15550100001"


def text_to(number: str = ADA, body: str = "It is on its way.", **fields: Any) -> Any:
    job = make_job(number, channel="sms", **fields)
    job.content.body = body
    return job


async def test_a_message_arrives_as_it_was_written(
    sandbox: RunningSandbox, provider: TwilioProvider, send: Any
) -> None:
    job = text_to(body="Grüße & 100 % = «ok» 😀\n+1")
    [outcome] = await send(provider, job)
    assert outcome.kind is OutcomeKind.SENT
    assert outcome.latency > timedelta(0)
    [kept] = await sandbox.messages(channel="sms")
    assert kept["provider_message_id"] == outcome.provider_message_id
    assert kept["payload"]["Body"] == job.content.body
    assert (kept["payload"]["To"], kept["payload"]["From"]) == (ADA, "+15005550006")
    assert kept["notification_id"] == job.notification_id
    assert kept["delivery_id"] == job.delivery_id
    assert kept["payload"]["StatusCallback"].startswith(
        "https://mesh.example.com/webhooks/sms/twilio?tenant=demo&"
    )


async def test_a_messaging_service_can_be_the_sender(
    sandbox: RunningSandbox, make_provider: Callable[..., TwilioProvider], send: Any
) -> None:
    service = "MG" + "0a" * 16
    await send(make_provider(twilio_from=service), text_to())
    [kept] = await sandbox.messages(channel="sms")
    assert kept["payload"]["MessagingServiceSid"] == service
    assert "From" not in kept["payload"]


async def test_a_title_alone_is_sent(
    sandbox: RunningSandbox, provider: TwilioProvider, send: Any
) -> None:
    await send(provider, text_to(body=""))
    [kept] = await sandbox.messages(channel="sms")
    assert kept["payload"]["Body"] == "Your order"


@pytest.mark.parametrize(
    ("code", "kind", "reason", "suppress"),
    [
        (21211, OutcomeKind.FAILED, "invalid_address", ""),
        (21610, OutcomeKind.FAILED, "opted_out", "stop"),
        (20503, OutcomeKind.RETRY, "provider_unavailable", ""),
        (20003, OutcomeKind.RETRY, "provider_misconfigured", ""),
    ],
)
async def test_a_refusal_is_understood(
    sandbox: RunningSandbox,
    provider: TwilioProvider,
    send: Any,
    code: int,
    kind: OutcomeKind,
    reason: str,
    suppress: str,
) -> None:
    match = {"provider": "twilio"}
    await sandbox.script([{"match": match, "action": {"code": code}}])
    [outcome] = await send(provider, text_to())
    assert (outcome.kind, outcome.reason) == (kind, reason)
    assert (outcome.provider_code, outcome.suppress) == (str(code), suppress)


async def test_retry_after_is_kept(
    sandbox: RunningSandbox, provider: TwilioProvider, send: Any
) -> None:
    action = {"code": 20429, "retry_after": 7}
    await sandbox.script([{"match": {"provider": "twilio"}, "action": action}])
    [outcome] = await send(provider, text_to())
    assert (outcome.kind, outcome.reason) == (OutcomeKind.RETRY, "rate_limited")
    assert outcome.retry_after == timedelta(seconds=7)


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        (text_to("5550100"), "invalid_address"),
        (text_to("+1555010000१"), "invalid_address"),
        (text_to(body="a" * 1531), "message_too_long"),
        (text_to(body="я" * 671), "message_too_long"),
        (text_to(body=" \n"), "empty_message"),
    ],
    ids=["no number", "foreign digit", "11 segments", "11 ucs2 segments", "blank"],
)
async def test_what_cannot_be_sent_never_leaves(
    sandbox: RunningSandbox, provider: TwilioProvider, send: Any, job: Any, reason: str
) -> None:
    assert await send(provider, job) == [Outcome.failed(reason)]
    assert not await sandbox.messages(channel="sms")


async def test_the_length_limit_is_a_setting(
    make_provider: Callable[..., TwilioProvider], send: Any
) -> None:
    provider = make_provider(sms_max_segments=1)
    outcomes = await send(provider, text_to(body="a" * 160), text_to(body="a" * 161))
    assert [outcome.reason for outcome in outcomes] == ["", "message_too_long"]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_hang_up_after_the_request_left_is_unknown(
    sandbox: RunningSandbox, provider: TwilioProvider, send: Any, when: str
) -> None:
    await sandbox.script([{"times": 1, "action": {"hang_up": when}}])
    lost, fine = text_to(), text_to()
    [outcome] = await send(provider, lost)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.UNKNOWN, "connection_lost")
    # The POST was not repeated behind our back.
    assert len(await sandbox.arrivals()) == (1 if when == "after" else 0)
    [outcome] = await send(provider, fine)
    assert outcome.kind is OutcomeKind.SENT


async def test_no_answer_in_time_is_unknown(
    sandbox: RunningSandbox, make_provider: Callable[..., TwilioProvider], send: Any
) -> None:
    await sandbox.script([{"action": {"delay_ms": 5000}}])
    provider = make_provider(
        twilio_connect_timeout=timedelta(seconds=0.2),
        twilio_timeout=timedelta(seconds=0.3),
    )
    [outcome] = await send(provider, text_to())
    assert (outcome.kind, outcome.reason) == (OutcomeKind.UNKNOWN, "timeout")


async def test_without_a_connection_nothing_has_left(
    make_provider: Callable[..., TwilioProvider], send: Any
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        [outcome] = await send(make_provider(twilio_url=url), text_to())
    assert (outcome.kind, outcome.reason) == (
        OutcomeKind.RETRY,
        "provider_unreachable",
    )


async def test_a_connection_that_is_not_made_in_time_has_sent_nothing(
    make_provider: Callable[..., TwilioProvider], send: Any
) -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # no TLS greeting ever comes
        writer.close()

    async with await asyncio.start_server(mute, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        provider = make_provider(
            twilio_url=f"https://127.0.0.1:{port}",
            twilio_connect_timeout=timedelta(seconds=0.2),
        )
        [outcome] = await send(provider, text_to())
    assert outcome.kind is OutcomeKind.RETRY
    assert outcome.reason == "provider_unreachable"


async def test_an_answer_that_breaks_off_after_its_status_counts(
    make_provider: Callable[..., TwilioProvider], send: Any
) -> None:
    async def break_off(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readuntil(b"StatusCallback=")
        writer.write(b"HTTP/1.1 201 Created\r\ncontent-length: 700\r\n\r\n{")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(break_off, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        provider = make_provider(twilio_url=f"http://127.0.0.1:{port}")
        [outcome] = await send(provider, text_to())
    assert outcome.kind is OutcomeKind.SENT


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (b"HTTP/1.1 400 No\r\ncontent-length: 9\r\n\r\n{", "RETRY", "unavailable"),
        (b"220 mail.example.com ESMTP\r\n", "UNKNOWN", "connection_lost"),
        (b"HTTP/1.1 20", "UNKNOWN", "connection_lost"),
        (b"\x00\xff" * 500, "UNKNOWN", "connection_lost"),
        (
            b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n"
            b'10\r\n{"sid":"SM012345\r\n4\r\n67"}\r\n0\r\n\r\n',
            "SENT",
            "",
        ),
        (b'HTTP/1.1 201 Created\r\n\r\n{"sid":"SM01234567"}', "SENT", ""),
        (b"HTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n", "RETRY", "misconfigured"),
    ],
    ids=["cut", "garbage", "no head", "zeros", "chunked", "until end", "redirect"],
)
async def test_whatever_is_answered_has_a_meaning(
    make_provider: Callable[..., TwilioProvider],
    send: Any,
    answer: bytes,
    kind: str,
    reason: str,
) -> None:
    asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.readuntil(b"StatusCallback=")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        provider = make_provider(twilio_url=f"http://127.0.0.1:{port}")
        [outcome] = await send(provider, text_to())
    assert outcome.kind is OutcomeKind[kind]
    assert outcome.reason.removeprefix("provider_") == reason
    if kind == "SENT":
        assert outcome.provider_message_id == "SM01234567"
    assert asked == 1


async def test_a_connection_that_was_closed_meanwhile_is_not_used(
    make_provider: Callable[..., TwilioProvider], send: Any
) -> None:
    closed = asyncio.Event()

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"StatusCallback=")
        writer.write(b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        closed.set()

    async with await asyncio.start_server(once, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        provider = make_provider(twilio_url=f"http://127.0.0.1:{port}")
        for _ in range(3):
            [outcome] = await send(provider, text_to())
            assert outcome.kind is OutcomeKind.SENT
            await closed.wait()
            closed.clear()


async def test_a_wrong_password_makes_the_provider_unusable_until_it_works(
    sandbox: RunningSandbox, make_provider: Callable[..., TwilioProvider], send: Any
) -> None:
    provider = make_provider(twilio_auth_token=Secret("guess"))
    await provider.check()
    [outcome] = await send(provider, text_to())
    assert outcome.reason == "provider_misconfigured"
    with pytest.raises(UnavailableError, match="20003"):
        await provider.check()


async def test_a_refusal_of_a_number_leaves_the_provider_usable(
    sandbox: RunningSandbox, provider: TwilioProvider, send: Any
) -> None:
    match = {"provider": "twilio"}
    rule = {"match": match, "times": 1, "action": {"code": 20003}}
    await sandbox.script([rule])
    await send(provider, text_to())
    await send(provider, text_to())
    await provider.check()


async def test_requests_under_way_are_bounded_and_connections_kept(
    sandbox: RunningSandbox, make_provider: Callable[..., TwilioProvider], send: Any
) -> None:
    provider = make_provider(twilio_connections=3)
    outcomes = await send(provider, *(text_to() for _ in range(60)))
    assert {outcome.kind for outcome in outcomes} == {OutcomeKind.SENT}
    transport: Any = provider._transport
    assert 1 <= len(transport._connections._sockets) <= 3


async def test_the_high_lane_goes_first(
    sandbox: RunningSandbox, make_provider: Callable[..., TwilioProvider], send: Any
) -> None:
    provider = make_provider(twilio_connections=1)
    jobs = [text_to(priority=lane) for lane in ("low", "medium", "high") * 2]
    await send(provider, *jobs)
    arrived = [delivery_id for _, delivery_id, _, _ in await sandbox.arrivals()]
    lanes = {job.delivery_id: job.priority for job in jobs}
    assert [lanes[each] for each in arrived] == [
        *["high"] * 2,
        *["medium"] * 2,
        *["low"] * 2,
    ]


async def test_a_slow_message_does_not_hold_up_the_others(
    sandbox: RunningSandbox, provider: TwilioProvider
) -> None:
    slow = {"match": {"recipient": ADA}, "action": {"delay_ms": 2000}}
    await sandbox.script([slow])
    settled: list[str] = []
    jobs = [text_to(), text_to("+15550100002")]
    sending = asyncio.create_task(
        provider.send(jobs, lambda job, _: settled.append(job.target.address))
    )
    await wait_until(lambda: settled == ["+15550100002"], 1.5)
    sending.cancel()
    await asyncio.wait({sending})
