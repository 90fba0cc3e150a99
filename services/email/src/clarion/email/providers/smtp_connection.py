"""One kept-open connection to a mail server, and one mail on it at a time."""

from __future__ import annotations

import socket
from datetime import timedelta

import aiosmtplib
from aiosmtplib import SMTP, SMTPResponseException

from clarion.email.providers.smtp_replies import Stage, outcome_of, queue_id
from clarion.email.smtp_url import SmtpUrl
from clarion.runtime.delivery import Outcome


class StaleError(Exception):
    """A kept connection turned out to be closed; nothing of the mail has left."""


class SmtpConnection:
    """Connects on first use and again after a break."""

    def __init__(self, server: SmtpUrl, timeout: timedelta) -> None:
        self._server = server
        self._timeout = timeout.total_seconds()
        self._smtp: SMTP | None = None
        self._mails = 0

    async def send(self, sender: str, recipient: str, mail: bytes) -> Outcome:
        """Sends a mail (CRLF line ends) to one recipient.

        Raises StaleError where a connection that had worked before broke before the
        mail left; the next call makes a new one.
        """
        stage = Stage.CONNECT
        is_kept = self._mails > 0
        try:
            smtp = await self._connected()
            stage = Stage.SENDER
            # Without SMTPUTF8 our mails are ASCII throughout.
            options: list[bytes] = []
            if not (recipient.isascii() and sender.isascii()):
                if not smtp.supports_extension("smtputf8"):
                    return Outcome.failed("smtputf8_unsupported")
                options = [b"SMTPUTF8", b"BODY=8BITMIME"]
            reply = await smtp.execute_command(
                b"MAIL", b"FROM:<%s>" % sender.encode(), *options
            )
            if reply.code == 250:
                stage = Stage.RECIPIENT
                reply = await smtp.execute_command(
                    b"RCPT", b"TO:<%s>" % recipient.encode()
                )
            if reply.code in (250, 251):
                stage = Stage.DATA
                reply = await smtp.execute_command(b"DATA")
        except (aiosmtplib.SMTPException, OSError) as exc:
            self.drop()
            if is_kept and isinstance(exc, ConnectionError):
                raise StaleError from exc
            return _not_taken(stage, exc)
        if reply.code == 354:
            return await self._body(smtp, mail)
        if reply.code == 421:
            self.drop()
            if is_kept:
                # What servers say to a connection that they close for its age.
                raise StaleError
        else:
            await self._reset(smtp)
        return outcome_of(stage, reply.code, reply.message)

    def drop(self) -> None:
        """Closes the connection without a word."""
        if self._smtp is not None:
            self._smtp.close()
            self._smtp = None
        self._mails = 0

    async def close(self) -> None:
        """Says goodbye, where there is anybody to say it to."""
        smtp, self._smtp = self._smtp, None
        if smtp is None or not smtp.is_connected:
            return
        try:
            await smtp.quit(timeout=1)
        except (aiosmtplib.SMTPException, OSError):
            smtp.close()

    async def _connected(self) -> SMTP:
        if self._smtp is not None and self._smtp.is_connected:
            return self._smtp
        self.drop()
        server = self._server
        smtp = SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password,
            use_tls=server.tls,
            # None: where offered. A password never leaves in the clear by choice of
            # whoever is between; a local relay without TLS needs no certificate.
            start_tls=_start_tls(server),
            timeout=self._timeout,
            # The default asks the DNS, which blocks the loop.
            local_hostname=socket.gethostname(),
        )
        try:
            await smtp.connect()
            if smtp.is_ehlo_or_helo_needed:
                await smtp.ehlo()
        except BaseException:
            smtp.close()
            raise
        self._smtp = smtp
        return smtp

    async def _body(self, smtp: SMTP, mail: bytes) -> Outcome:
        """The mail itself, asked for by 354: from here on silence means UNKNOWN."""
        protocol = smtp.protocol
        try:
            if protocol is None:
                raise aiosmtplib.SMTPServerDisconnected("connection lost")
            protocol.write(_stuffed(mail))
            reply = await protocol.read_response(timeout=self._timeout)
        except TimeoutError:
            self.drop()
            return Outcome.unknown("timeout")
        except (aiosmtplib.SMTPException, OSError):
            self.drop()
            return Outcome.unknown("connection_lost")
        if reply.code == 250:
            self._mails += 1
            return Outcome.sent(queue_id(reply.message))
        if reply.code == 421:
            self.drop()
        return outcome_of(Stage.DATA, reply.code, reply.message)

    async def _reset(self, smtp: SMTP) -> None:
        """Makes the connection fit for the next mail after a refusal."""
        try:
            reply = await smtp.execute_command(b"RSET")
        except (aiosmtplib.SMTPException, OSError):
            self.drop()
        else:
            if reply.code != 250:
                self.drop()


def _start_tls(server: SmtpUrl) -> bool | None:
    if server.tls:
        return False
    return True if server.starttls else (None if server.password else False)


def _not_taken(stage: Stage, error: Exception) -> Outcome:
    """The mail has not left: whatever happened, it can be tried again."""
    if isinstance(error, SMTPResponseException):
        return outcome_of(stage, error.code, error.message)
    if isinstance(error, TimeoutError):
        return Outcome.retry("timeout")
    if isinstance(error, OSError) and stage is not Stage.CONNECT:
        return Outcome.retry("connection_lost")
    return Outcome.retry("provider_unavailable")


def _stuffed(mail: bytes) -> bytes:
    """With dots doubled and the end mark (RFC 5321, 4.5.2)."""
    if b"\r\n." in mail:
        mail = mail.replace(b"\r\n.", b"\r\n..")
    return mail + (b".\r\n" if mail.endswith(b"\r\n") else b"\r\n.\r\n")
