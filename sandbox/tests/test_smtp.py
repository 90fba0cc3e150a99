from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from email.message import EmailMessage

import aiosmtplib
import pytest

from clarion.sandbox.record import Filter
from clarion.sandbox.testing import RunningSandbox

ADA = "ada@example.com"
RAW = (
    b"From: shop@example.com\r\nTo: ada@example.com\r\nSubject: Hi\r\n"
    b"X-Clarion-Notification-Id: n1\r\nX-Clarion-Delivery-Id: d1\r\n\r\n"
)


def place(sandbox: RunningSandbox) -> tuple[str, int]:
    host, _, port = sandbox.smtp_url.removeprefix("smtp://").partition(":")
    return host, int(port)


@pytest.fixture
async def client(sandbox: RunningSandbox) -> AsyncIterator[aiosmtplib.SMTP]:
    host, port = place(sandbox)
    smtp = aiosmtplib.SMTP(hostname=host, port=port, start_tls=False, timeout=5)
    await smtp.connect()
    yield smtp
    smtp.close()


async def send(client: aiosmtplib.SMTP, *to: str, body: bytes = b"Hello\r\n") -> str:
    _, answer = await client.sendmail(
        "shop@example.com", list(to or (ADA,)), RAW + body
    )
    return answer


async def test_a_mail_is_kept_with_its_headers_and_parts(
    sandbox: RunningSandbox, client: aiosmtplib.SMTP
) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"] = "shop@example.com", ADA
    mail["Subject"] = "Grüße ✓"
    mail["X-Clarion-Notification-Id"] = "n1"
    mail["X-Clarion-Delivery-Id"] = "d1"
    mail.set_content("Plain ä\n.dot\n..dots\n")
    mail.add_alternative("<p>Rich</p>\n", subtype="html")
    await client.send_message(mail)
    [kept] = await sandbox.messages(channel="email")
    assert (kept["notification_id"], kept["delivery_id"]) == ("n1", "d1")
    assert kept["recipient"] == ADA
    payload = kept["payload"]
    assert payload["subject"] == "Grüße ✓"
    assert payload["text"].splitlines() == ["Plain ä", ".dot", "..dots"]
    assert payload["html"].strip() == "<p>Rich</p>"
    assert ["X-Clarion-Delivery-Id", "d1"] in payload["headers"]


@pytest.mark.parametrize(
    "body", [b"", b".\r\n", b".x\r\n\r\n..\r\n", b"x" * 300_000 + b"\r\n"], ids=len
)
async def test_every_body_comes_through_unchanged(
    sandbox: RunningSandbox, client: aiosmtplib.SMTP, body: bytes
) -> None:
    await send(client, body=body)
    [record] = sandbox.sandbox.store.find(Filter(), 9)
    assert record.arrival.raw == RAW + body


async def test_one_connection_carries_many_mails(
    sandbox: RunningSandbox, client: aiosmtplib.SMTP
) -> None:
    for number in range(50):
        assert "queued" in await send(client, f"person-{number}@example.com")
    assert (await sandbox.summary())["accepted"]["by_channel"] == {"email": 50}


async def test_a_recipient_is_refused_with_the_scripted_code(
    sandbox: RunningSandbox, client: aiosmtplib.SMTP
) -> None:
    match = {"provider": "smtp", "recipient": ADA}
    await sandbox.script([{"match": match, "action": {"code": "550 5.1.1"}}])
    with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as caught:
        await send(client)
    refused = caught.value.recipients[0]
    assert refused.code == 550
    assert refused.message.startswith("5.1.1 ")
    assert "queued" in await send(client, "bob@example.com")
    assert (await sandbox.summary())["outcomes"]["smtp"] == {
        "550 5.1.1": 1,
        "accepted": 1,
    }


async def test_the_others_get_the_mail_when_one_recipient_is_refused(
    sandbox: RunningSandbox, client: aiosmtplib.SMTP
) -> None:
    rule = {"match": {"recipient": ADA}, "action": {"unregistered": True}}
    await sandbox.script([rule])
    errors, _ = await client.sendmail("a@x.org", [ADA, "bob@x.org"], RAW)
    assert list(errors) == [ADA]
    assert [m["recipient"] for m in await sandbox.messages() if m["accepted"]] == [
        "bob@x.org"
    ]


async def test_the_mail_can_be_refused_after_its_data(
    sandbox: RunningSandbox, client: aiosmtplib.SMTP
) -> None:
    action = {"status": 451, "stage": "data", "retry_after": 60}
    await sandbox.script([{"action": action}])
    with pytest.raises(aiosmtplib.SMTPDataError) as caught:
        await send(client)
    assert caught.value.code == 451
    assert "60 seconds" in caught.value.message


@pytest.mark.parametrize(
    ("action", "kept"),
    [
        ({"hang_up": "before"}, 0),
        ({"hang_up": "before", "stage": "data"}, 0),
        ({"hang_up": "after"}, 1),
    ],
    ids=str,
)
async def test_a_hang_up_leaves_no_answer(
    sandbox: RunningSandbox,
    client: aiosmtplib.SMTP,
    action: dict[str, object],
    kept: int,
) -> None:
    await sandbox.script([{"action": action}])
    with pytest.raises(aiosmtplib.SMTPServerDisconnected):
        await send(client)
    assert len(await sandbox.arrivals()) == kept


async def test_a_delay_is_kept_to(
    sandbox: RunningSandbox, client: aiosmtplib.SMTP
) -> None:
    await sandbox.script([{"action": {"delay_ms": 200}}])
    start = time.monotonic()
    await send(client)
    assert time.monotonic() - start >= 0.2


@pytest.mark.parametrize("method", ["PLAIN", "LOGIN"])
async def test_any_login_is_welcome(client: aiosmtplib.SMTP, method: str) -> None:
    await client.ehlo()
    login = client.auth_plain if method == "PLAIN" else client.auth_login
    assert (await login("user", "secret")).code == 235
    assert "queued" in await send(client)


async def test_tls_can_be_started(
    sandbox: RunningSandbox, client: aiosmtplib.SMTP
) -> None:
    context = ssl.create_default_context(cafile=sandbox.ca_file)
    await client.ehlo()
    assert (await client.starttls(tls_context=context)).code == 220
    assert "queued" in await send(client)
    await client.ehlo()
    assert not client.supports_extension("starttls")


async def test_a_whole_dialogue_can_be_pipelined_byte_by_byte(
    sandbox: RunningSandbox,
) -> None:
    reader, writer = await asyncio.open_connection(*place(sandbox))
    talk = b"HELO me\r\nMAIL FROM:<a@x.org>\r\nRCPT TO:<b@x.org>\r\nDATA\r\n"
    talk += RAW + b"Hello\r\n.\r\nQUIT\r\n"
    for start in range(len(talk)):
        writer.write(talk[start : start + 1])
        await writer.drain()
    codes = [line[:3] for line in (await reader.read()).split(b"\r\n") if line]
    assert codes == [b"220", b"250", b"250", b"250", b"354", b"250", b"221"]
    writer.close()
    assert len(await sandbox.arrivals()) == 1


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("MAIL FROM:<a@x.org>", 503),
        ("DATA", 503),
        ("RCPT TO:<a@x.org>", 503),
        ("NONSENSE", 500),
        ("AUTH CRAM-MD5", 504),
        ("VRFY ada", 252),
        ("NOOP", 250),
    ],
)
async def test_a_lone_command_gets_the_code_of_the_rfc(
    client: aiosmtplib.SMTP, command: str, code: int
) -> None:
    assert (await client.execute_command(command.encode())).code == code


async def test_a_mail_over_the_size_limit_is_refused_at_once(
    client: aiosmtplib.SMTP,
) -> None:
    await client.ehlo()
    answer = await client.execute_command(b"MAIL FROM:<a@x.org> SIZE=99999999")
    assert answer.code == 552
