"""Mail over TLS, from the first byte and by STARTTLS, with certificates that count."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from clarion.email.providers.smtp_connection import SmtpConnection
from clarion.email.smtp_url import SmtpUrl
from clarion.runtime.delivery import Outcome, OutcomeKind

MAIL = b"Subject: x\r\n\r\nhello\r\n"


class Server:
    """Takes every mail; over TLS from the first byte, or when it is asked for it."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.port = 0
        self.secret = b""
        """What it heard over TLS."""

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            writer.write(b"220 hi\r\n")
            while line := await reader.readline():
                is_tls = writer.get_extra_info("ssl_object") is not None
                if is_tls:
                    self.secret += line
                if line == b"STARTTLS\r\n":
                    writer.write(b"220 go on\r\n")
                    await writer.start_tls(self.context)
                elif line.startswith(b"EHLO"):
                    offer = b"" if is_tls else b"250-STARTTLS\r\n"
                    writer.write(b"250-x\r\n" + offer + b"250 PIPELINING\r\n")
                elif line == b"DATA\r\n":
                    writer.write(b"354 go on\r\n")
                    self.secret += await reader.readuntil(b"\r\n.\r\n")
                    writer.write(b"250 queued as 1\r\n")
                else:
                    writer.write(b"250 ok\r\n")
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.fixture(params=["smtps", "starttls"])
async def server(
    request: pytest.FixtureRequest, certificate: Path
) -> AsyncIterator[tuple[Server, SmtpUrl]]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server = Server(context)
    is_smtps = request.param == "smtps"
    listener = await asyncio.start_server(
        server.serve, "127.0.0.1", 0, ssl=context if is_smtps else None
    )
    port = listener.sockets[0].getsockname()[1]
    text = f"smtps://127.0.0.1:{port}"
    if not is_smtps:
        text = f"smtp://127.0.0.1:{port}?starttls=true"
    yield server, SmtpUrl.parse(text)
    listener.close()


async def _sent(url: SmtpUrl) -> list[Outcome]:
    connection = SmtpConnection(url, timedelta(seconds=5))
    try:
        return [
            await connection.send("shop@example.com", "ada@example.org", MAIL)
            for _ in range(2)
        ]
    finally:
        await connection.close()


async def test_mails_go_over_tls(
    server: tuple[Server, SmtpUrl], certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    taken, url = server

    outcomes = await _sent(url)

    assert [one.kind for one in outcomes] == [OutcomeKind.SENT] * 2
    assert taken.secret.count(b"MAIL FROM:<shop@example.com>\r\n") == 2
    assert taken.secret.count(MAIL) == 2


async def test_a_certificate_that_nobody_vouches_for_gets_no_mail(
    server: tuple[Server, SmtpUrl],
) -> None:
    taken, url = server

    outcomes = await _sent(url)

    assert [one.kind for one in outcomes] == [OutcomeKind.RETRY] * 2
    assert taken.secret == b""
