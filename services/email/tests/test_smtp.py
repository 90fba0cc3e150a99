from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from clarion.email.providers.smtp import SmtpProvider
from clarion.runtime.delivery import OutcomeKind
from clarion.runtime.delivery.in_memory import make_job
from clarion.runtime.errors import UnavailableError
from clarion.runtime.testing import wait_until
from clarion.sandbox.testing import RunningSandbox

pytestmark = pytest.mark.integration

ADA = "ada@example.org"
SENT, RETRY = OutcomeKind.SENT, OutcomeKind.RETRY
FAILED, UNKNOWN = OutcomeKind.FAILED, OutcomeKind.UNKNOWN


def rule(action: dict[str, Any]) -> dict[str, Any]:
    return {"match": {"provider": "smtp", "recipient": ADA}, "action": action}


async def test_a_mail_arrives_with_its_ids(
    sandbox: RunningSandbox, provider: SmtpProvider, send: Any
) -> None:
    job = make_job(ADA)
    job.content.title = "Grüße ✓"
    job.content.body = "Plain ä\n.dot\n..dots\n."
    job.content.html = "<p>Rich</p>"
    [outcome] = await send(provider, job)
    [kept] = await sandbox.messages(channel="email")
    assert outcome.kind is SENT
    assert outcome.provider_message_id == kept["provider_message_id"]
    assert outcome.latency > timedelta(0)
    assert kept["recipient"] == ADA
    assert kept["delivery_id"] == job.delivery_id
    assert kept["notification_id"] == job.notification_id
    assert kept["details"]["sender"] == "shop@example.com"
    payload = kept["payload"]
    assert payload["subject"] == "Grüße ✓"
    assert payload["text"].splitlines() == ["Plain ä", ".dot", "..dots", "."]
    assert payload["html"].strip() == "<p>Rich</p>"


SCRIPTED = (
    ({"code": "550 5.1.1", "stage": "rcpt"}, FAILED, "invalid_address", "bounce"),
    ({"code": "550 5.1.1", "stage": "data"}, FAILED, "invalid_address", "bounce"),
    ({"code": "550 5.7.1", "stage": "data"}, FAILED, "policy_rejected", ""),
    ({"code": "451 4.3.0", "stage": "rcpt"}, RETRY, "provider_unavailable", ""),
    ({"code": "421 4.3.2", "stage": "data"}, RETRY, "provider_unavailable", ""),
    ({"hang_up": "before", "stage": "rcpt"}, RETRY, "connection_lost", ""),
    ({"hang_up": "before", "stage": "data"}, UNKNOWN, "connection_lost", ""),
    ({"hang_up": "after", "stage": "data"}, UNKNOWN, "connection_lost", ""),
)


@pytest.mark.parametrize(("action", "kind", "reason", "suppress"), SCRIPTED)
async def test_what_the_server_does_becomes_an_outcome(
    sandbox: RunningSandbox,
    make_provider: Any,
    send: Any,
    action: dict[str, Any],
    kind: OutcomeKind,
    reason: str,
    suppress: str,
) -> None:
    await sandbox.script([rule(action)])
    # One connection, so that it is seen to be good for the next mail.
    provider = make_provider(sandbox.smtp_url, connections=1)
    refused, after = await send(provider, make_job(ADA), make_job("bob@example.org"))
    assert (refused.kind, refused.reason, refused.suppress) == (kind, reason, suppress)
    assert after.kind is SENT


async def test_greylisting_says_when_to_come_back(
    sandbox: RunningSandbox, provider: SmtpProvider, send: Any
) -> None:
    action = {"code": "450 4.2.0", "retry_after": 120, "stage": "rcpt"}
    await sandbox.script([rule(action)])
    [outcome] = await send(provider, make_job(ADA))
    assert outcome.retry_after == timedelta(seconds=120)


async def test_silence_after_the_mail_is_unknown(
    sandbox: RunningSandbox, make_provider: Any, send: Any
) -> None:
    action = {"delay_ms": 3000}
    await sandbox.script([rule(action)])
    provider = make_provider(sandbox.smtp_url, timeout=timedelta(milliseconds=300))
    [outcome] = await send(provider, make_job(ADA))
    assert (outcome.kind, outcome.reason) == (UNKNOWN, "timeout")


async def test_no_server_is_a_retry(
    make_provider: Any, send: Any, unused_port: int
) -> None:
    provider = make_provider(f"smtp://127.0.0.1:{unused_port}")
    [outcome] = await send(provider, make_job(ADA))
    assert (outcome.kind, outcome.reason) == (RETRY, "provider_unavailable")


@pytest.mark.parametrize("address", ["", "nobody", "a@b\r\nRCPT TO:<eve@b>"])
async def test_a_bad_address_never_reaches_the_server(
    sandbox: RunningSandbox, provider: SmtpProvider, send: Any, address: str
) -> None:
    job = make_job("x@y")
    job.target.address = address
    [outcome] = await send(provider, job)
    assert (outcome.kind, outcome.reason) == (FAILED, "invalid_address")
    assert await sandbox.messages() == []


async def test_an_address_outside_ascii_is_sent_with_smtputf8(
    sandbox: RunningSandbox, provider: SmtpProvider, send: Any
) -> None:
    [outcome] = await send(provider, make_job("josé@bücher.example"))
    assert outcome.kind is SENT
    [kept] = await sandbox.messages()
    assert kept["recipient"] == "josé@xn--bcher-kva.example"


async def test_a_connection_that_the_server_closed_is_replaced_unseen(
    relay: Any, make_provider: Any, send: Any
) -> None:
    provider = make_provider(relay.url, connections=1)
    await send(provider, make_job(ADA))
    relay.cut()
    [outcome] = await send(provider, make_job(ADA))
    assert outcome.kind is SENT
    assert relay.accepted == 2


async def test_many_mails_share_a_few_connections(
    sandbox: RunningSandbox, relay: Any, make_provider: Any, send: Any
) -> None:
    provider = make_provider(relay.url, connections=3)
    outcomes = await send(
        provider, *(make_job(f"u{n}@example.org") for n in range(200))
    )
    assert {outcome.kind for outcome in outcomes} == {SENT}
    assert len(await sandbox.messages()) == 200
    assert relay.accepted == 3


async def test_high_priority_overtakes_what_waits(
    sandbox: RunningSandbox, make_provider: Any, send: Any
) -> None:
    provider = make_provider(sandbox.smtp_url, connections=1)
    low = [make_job(f"u{n}@example.org", priority="low") for n in range(100)]
    flood = asyncio.create_task(send(provider, *low))
    await wait_until(lambda: sandbox.sandbox.store.summary())
    await send(provider, make_job(ADA, priority="high"))
    assert not flood.done()
    await flood


async def test_a_cancelled_call_leaves_its_unsent_mails(
    sandbox: RunningSandbox, relay: Any, make_provider: Any, send: Any
) -> None:
    await sandbox.script([rule({"delay_ms": 300})])
    provider = make_provider(relay.url, connections=1)
    jobs = [make_job(ADA) for _ in range(5)]
    call: asyncio.Task[Any] = asyncio.create_task(send(provider, *jobs))
    await wait_until(lambda: relay.accepted)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    [outcome] = await send(provider, make_job("bob@example.org"))
    assert outcome.kind is SENT
    assert len(await sandbox.messages()) <= 2


async def test_refused_credentials_make_the_channel_unready(
    make_provider: Any, send: Any
) -> None:
    async def refuse(reader: Any, writer: Any) -> None:
        writer.write(b"220 hi\r\n")
        while line := await reader.readline():
            if line.startswith(b"EHLO"):
                writer.write(b"250-x\r\n250 AUTH PLAIN\r\n")
            else:
                writer.write(b"535 5.7.8 Bad credentials\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    provider = make_provider(f"smtp://u:p@127.0.0.1:{port}")
    await provider.check()
    [outcome] = await send(provider, make_job(ADA))
    assert (outcome.kind, outcome.reason) == (RETRY, "authentication_failed")
    with pytest.raises(UnavailableError):
        await provider.check()
    server.close()
