"""Against servers that are scripted line by line, as no real one misbehaves so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest

from clarion.email.providers.smtp_connection import SmtpConnection, StaleError
from clarion.email.smtp_url import SmtpUrl
from clarion.runtime.delivery import Outcome, OutcomeKind
from clarion.runtime.testing import wait_until

PIPELINES = b"250-x\r\n250-SMTPUTF8\r\n250 PIPELINING\r\n"
PLAIN = b"250 x\r\n"
OK = b"250 2.0.0 OK\r\n"
GO_ON = b"354 go on\r\n"
GONE = b""
"""In place of a reply: the server closes the connection."""

MAIL = b"Subject: x\r\n\r\n.dot\r\n"


class Server:
    """Says what it is told to, in pieces of any size."""

    def __init__(self) -> None:
        self.port = 0
        self.greets = PIPELINES
        self.replies: dict[bytes, list[bytes]] = {}
        """By verb, in turn; ``.`` is the end of a mail. Otherwise all is well."""
        self.piece = 1000
        self.heard: list[bytes] = []
        self.reads: list[bytes] = []
        self.mails: list[bytes] = []
        self.connections = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        self.writers.append(writer)
        writer.write(b"220 hi\r\n")
        data = b""
        try:
            while chunk := await reader.read(65536):
                self.reads.append(chunk)
                data += chunk
                while b"\r\n" in data:
                    line, data = data.split(b"\r\n", 1)
                    reply = self._reply(line)
                    if reply == GONE:
                        return
                    for at in range(0, len(reply), self.piece):
                        writer.write(reply[at : at + self.piece])
                        await asyncio.sleep(0)
                    if reply == GO_ON:
                        while b"\r\n.\r\n" not in data:
                            more = await reader.read(65536)
                            if not more:
                                return
                            data += more
                        mail, data = data.split(b"\r\n.\r\n", 1)
                        self.mails.append(mail)
                        reply = self._reply(b".")
                        if reply == GONE:
                            return
                        writer.write(reply)
        except ConnectionError:
            pass
        finally:
            writer.close()

    def _reply(self, line: bytes) -> bytes:
        verb = line.split(b" ")[0]
        self.heard.append(verb)
        if verb == b"EHLO":
            return self.greets
        scripted = self.replies.get(verb)
        if scripted:
            return scripted.pop(0)
        return GO_ON if verb == b"DATA" else OK


Send = Callable[[], Awaitable[Outcome]]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    yield server
    listener.close()


@pytest.fixture
async def connection(server: Server) -> AsyncIterator[SmtpConnection]:
    url = SmtpUrl.parse(f"smtp://127.0.0.1:{server.port}")
    connection = SmtpConnection(url, timedelta(milliseconds=500))
    yield connection
    await connection.close()


@pytest.fixture
def send(connection: SmtpConnection) -> Send:
    return lambda: connection.send("shop@example.com", "ada@example.org", MAIL)


async def test_a_server_that_pipelines_is_asked_everything_at_once(
    server: Server, send: Send
) -> None:
    await send()
    assert (await send()).kind is OutcomeKind.SENT
    assert server.heard.count(b"DATA") == 2
    opening = b"MAIL FROM:<shop@example.com>\r\nRCPT TO:<ada@example.org>\r\nDATA\r\n"
    assert opening in server.reads
    assert server.mails == [b"Subject: x\r\n\r\n..dot"] * 2
    assert server.connections == 1


async def test_a_server_that_does_not_is_asked_one_thing_after_another(
    server: Server, send: Send
) -> None:
    server.greets = PLAIN
    assert (await send()).kind is OutcomeKind.SENT
    assert b"DATA\r\n" in server.reads
    assert b"RCPT TO:<ada@example.org>\r\n" in server.reads


@pytest.mark.parametrize("greets", [PIPELINES, PLAIN], ids=["pipelined", "plain"])
@pytest.mark.parametrize("piece", [1, 2, 1000])
async def test_replies_may_come_in_pieces_and_have_many_lines(
    server: Server, send: Send, greets: bytes, piece: int
) -> None:
    server.greets, server.piece = greets, piece
    server.replies = {
        b"MAIL": [b"250-a\r\n250-b\r\n250\r\n"],
        b"DATA": [GO_ON],
        b".": [b"250-2.0.0 fine\r\n250 2.0.0 queued as Q1\r\n"],
    }
    outcome = await send()
    assert (outcome.kind, outcome.provider_message_id) == (OutcomeKind.SENT, "Q1")


@pytest.mark.parametrize("greets", [PIPELINES, PLAIN], ids=["pipelined", "plain"])
@pytest.mark.parametrize(
    ("verb", "reply", "kind", "reason"),
    [
        (b"MAIL", b"550 5.7.1 no\r\n", OutcomeKind.FAILED, "sender_rejected"),
        (b"MAIL", b"451 4.3.0 no\r\n", OutcomeKind.RETRY, "provider_unavailable"),
        (b"RCPT", b"550 5.1.1 no\r\n", OutcomeKind.FAILED, "invalid_address"),
        (b"DATA", b"554 5.6.0 no\r\n", OutcomeKind.FAILED, "content_rejected"),
        (b".", b"552 5.3.4 no\r\n", OutcomeKind.FAILED, "message_too_large"),
    ],
)
async def test_a_refusal_leaves_the_connection_fit_for_the_next_mail(
    server: Server,
    send: Send,
    greets: bytes,
    verb: bytes,
    reply: bytes,
    kind: OutcomeKind,
    reason: str,
) -> None:
    server.greets = greets
    server.replies = {verb: [reply]}
    if verb in (b"MAIL", b"RCPT") and greets == PIPELINES:
        server.replies[b"DATA"] = [b"503 5.5.1 no recipients\r\n"]
    if verb == b"MAIL" and greets == PIPELINES:
        server.replies[b"RCPT"] = [b"503 5.5.1 no sender\r\n"]
    refused = await send()
    assert (refused.kind, refused.reason) == (kind, reason)
    assert (await send()).kind is OutcomeKind.SENT
    assert server.connections == 1
    assert (b"RSET" in server.heard) is (verb != b".")


@pytest.mark.parametrize("code", [b"550", b"252"])
async def test_a_server_that_asks_for_the_mail_of_nobody_gets_none(
    server: Server, send: Send, code: bytes
) -> None:
    server.replies = {b"RCPT": [code + b" 5.1.1 no\r\n"]}
    assert (await send()).kind is not OutcomeKind.SENT
    assert (await send()).kind is OutcomeKind.SENT
    assert len(server.mails) == 1
    assert server.connections == 2


GARBAGE = b"HTTP/1.1 400 Bad Request\r\n\r\n"


@pytest.mark.parametrize("greets", [PIPELINES, PLAIN], ids=["pipelined", "plain"])
@pytest.mark.parametrize(
    ("verb", "reply", "kind", "reason"),
    [
        (b"MAIL", GONE, OutcomeKind.RETRY, "connection_lost"),
        (b"DATA", GONE, OutcomeKind.RETRY, "connection_lost"),
        (b".", GONE, OutcomeKind.UNKNOWN, "connection_lost"),
        (b"MAIL", GARBAGE, OutcomeKind.RETRY, "protocol_error"),
        (b"RCPT", b"25\r\n", OutcomeKind.RETRY, "protocol_error"),
        (b"RCPT", b"250x\r\n", OutcomeKind.RETRY, "protocol_error"),
        (b"DATA", b"354-" + b"x" * 80_000, OutcomeKind.RETRY, "protocol_error"),
        (b"DATA", b"354-x\r\n" * 500, OutcomeKind.RETRY, "protocol_error"),
        (b".", GARBAGE, OutcomeKind.UNKNOWN, "connection_lost"),
        (b"DATA", b"35", OutcomeKind.RETRY, "timeout"),
        (b".", b"250", OutcomeKind.UNKNOWN, "timeout"),
        (b"MAIL", b"421 4.3.2 bye\r\n", OutcomeKind.RETRY, "provider_unavailable"),
        (b"RCPT", b"421 4.3.2 bye\r\n", OutcomeKind.RETRY, "provider_unavailable"),
    ],
)
async def test_what_breaks_is_told_by_how_far_the_mail_was(
    server: Server,
    send: Send,
    greets: bytes,
    verb: bytes,
    reply: bytes,
    kind: OutcomeKind,
    reason: str,
) -> None:
    server.greets = greets
    server.replies = {verb: [reply]}
    broken = await send()
    assert (broken.kind, broken.reason) == (kind, reason)
    assert (await send()).kind is OutcomeKind.SENT
    assert server.connections == 2


@pytest.mark.parametrize("verb", [b"MAIL", b"RCPT", b"DATA"])
@pytest.mark.parametrize("reply", [GONE, b"421 4.4.2 too old\r\n"])
async def test_a_kept_connection_that_ends_before_the_mail_is_replaced(
    server: Server, send: Send, verb: bytes, reply: bytes
) -> None:
    await send()
    server.replies = {verb: [reply]}
    with pytest.raises(StaleError):
        await send()
    assert (await send()).kind is OutcomeKind.SENT
    assert len(server.mails) == 2


async def test_what_is_said_unasked_is_no_reply(server: Server, send: Send) -> None:
    await send()
    server.writers[0].write(b"421 4.4.2 idle for too long\r\n")
    await wait_until(server.writers[0].is_closing)  # as the other side hung up
    assert (await send()).kind is OutcomeKind.SENT
    assert server.connections == 2


async def test_closing_says_goodbye(
    server: Server, send: Send, connection: SmtpConnection
) -> None:
    await send()
    await connection.close()
    assert server.heard[-1] == b"QUIT"
