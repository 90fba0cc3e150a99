"""One kept-open connection to a mail server, and one mail on it at a time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import cast

import aiosmtplib
from aiosmtplib import SMTP, SMTPResponseException

from clarion.email.providers.smtp_dialogue import (
    MalformedReplyError,
    Reply,
    SmtpDialogue,
)
from clarion.email.providers.smtp_replies import Stage, outcome_of, queue_id
from clarion.email.smtp_url import SmtpUrl
from clarion.runtime.delivery import Outcome

_GOOD: Mapping[Stage, Collection[int]] = {
    Stage.SENDER: (250,),
    Stage.RECIPIENT: (250, 251),
    Stage.DATA: (354,),
}
"""What is asked before a mail, and the replies that let it go on."""


class StaleError(Exception):
    """A kept connection turned out to be closed; nothing of the mail has left."""


class SmtpConnection:
    """Connects on first use and again after a break.

    aiosmtplib connects, secures and logs in; what every mail says after that is a
    dialogue of ours, which takes half of the time and half of the ways.
    """

    def __init__(self, server: SmtpUrl, timeout: timedelta) -> None:
        self._server = server
        self._timeout = timeout.total_seconds()
        self._dialogue: SmtpDialogue | None = None
        self._takes_utf8 = False
        self._mails = 0

    async def send(self, sender: str, recipient: str, mail: bytes) -> Outcome:
        """Sends a mail (CRLF line ends) to one recipient.

        Raises StaleError where a connection that had worked before broke before the
        mail left; the next call makes a new one.
        """
        stage = Stage.CONNECT
        is_kept = self._mails > 0
        try:
            dialogue = await self._connected()
            # Without SMTPUTF8 our mails are ASCII throughout.
            options = b""
            if not (recipient.isascii() and sender.isascii()):
                if not self._takes_utf8:
                    return Outcome.failed("smtputf8_unsupported")
                options = b" SMTPUTF8 BODY=8BITMIME"
            stage = Stage.SENDER
            stage, reply = await _offer(
                dialogue,
                b"MAIL FROM:<%s>%s" % (sender.encode(), options),
                b"RCPT TO:<%s>" % recipient.encode(),
            )
        except (aiosmtplib.SMTPException, OSError, MalformedReplyError) as exc:
            self.drop()
            if is_kept and isinstance(exc, ConnectionError):
                raise StaleError from exc
            return _not_taken(stage, exc)
        if reply.code == 354:
            return await self._body(dialogue, mail)
        if reply.code == 421:
            self.drop()
            if is_kept:
                # What servers say to a connection that they close for its age.
                raise StaleError
        elif dialogue.is_open:
            await self._reset(dialogue)
        return outcome_of(stage, reply.code, reply.text)

    def drop(self) -> None:
        """Closes the connection without a word."""
        if self._dialogue is not None:
            self._dialogue.close()
            self._dialogue = None
        self._mails = 0

    async def close(self) -> None:
        """Says goodbye, where there is anybody to say it to."""
        dialogue = self._dialogue
        try:
            if dialogue is not None and dialogue.is_open:
                dialogue.say(b"QUIT")
                async with asyncio.timeout(1):
                    await dialogue.reply()
        except (OSError, MalformedReplyError):
            pass
        finally:
            self.drop()

    async def _connected(self) -> SmtpDialogue:
        if self._dialogue is not None and self._dialogue.is_open:
            return self._dialogue
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
            if smtp.transport is None:
                raise aiosmtplib.SMTPServerDisconnected("connection lost")
        except BaseException:
            smtp.close()
            raise
        self._takes_utf8 = smtp.supports_extension("smtputf8")
        self._dialogue = SmtpDialogue(
            cast(asyncio.Transport, smtp.transport),
            self._timeout,
            pipelines=smtp.supports_extension("pipelining"),
        )
        return self._dialogue

    async def _body(self, dialogue: SmtpDialogue, mail: bytes) -> Outcome:
        """The mail itself, asked for by 354: from here on silence means UNKNOWN."""
        try:
            dialogue.say(_stuffed(mail))
            reply = await dialogue.reply()
        except TimeoutError:
            self.drop()
            return Outcome.unknown("timeout")
        except (OSError, MalformedReplyError):
            self.drop()
            return Outcome.unknown("connection_lost")
        if reply.code == 250:
            self._mails += 1
            return Outcome.sent(queue_id(reply.text))
        if reply.code == 421:
            self.drop()
        return outcome_of(Stage.DATA, reply.code, reply.text)

    async def _reset(self, dialogue: SmtpDialogue) -> None:
        """Makes the connection fit for the next mail after a refusal."""
        try:
            dialogue.say(b"RSET")
            if (await dialogue.reply()).code != 250:
                self.drop()
        except (OSError, MalformedReplyError):
            self.drop()


async def _offer(
    dialogue: SmtpDialogue, sender: bytes, recipient: bytes
) -> tuple[Stage, Reply]:
    """Asks for leave to send a mail: how far that came, and the last reply of it.

    A server that pipelines (RFC 2920) is asked everything at once.
    """
    commands = (sender, recipient, b"DATA")
    if dialogue.pipelines:
        dialogue.say(*commands)
    for command, stage in zip(commands, _GOOD, strict=True):
        if not dialogue.pipelines:
            dialogue.say(command)
        reply = await dialogue.reply()
        if reply.code not in _GOOD[stage]:
            break
    if dialogue.pipelines and stage is not Stage.DATA and reply.code != 421:
        await _withdraw(dialogue, stage)
    return stage, reply


async def _withdraw(dialogue: SmtpDialogue, refused: Stage) -> None:
    """Takes the replies to what was asked behind a refusal."""
    try:
        if refused is Stage.SENDER:
            await dialogue.reply()
        if (await dialogue.reply()).code == 354:
            # It waits for the mail all the same. An empty one might even arrive.
            dialogue.close()
    except (OSError, MalformedReplyError):
        dialogue.close()  # the refusal counts, whatever became of the rest


def _start_tls(server: SmtpUrl) -> bool | None:
    if server.tls:
        return False
    return True if server.starttls else (None if server.password else False)


def _not_taken(stage: Stage, error: Exception) -> Outcome:
    """The mail has not left: whatever happened, it can be tried again."""
    if isinstance(error, SMTPResponseException):
        return outcome_of(stage, error.code, error.message)
    if isinstance(error, MalformedReplyError):
        return Outcome.retry("protocol_error")
    if isinstance(error, TimeoutError):
        return Outcome.retry("timeout")
    if isinstance(error, OSError) and stage is not Stage.CONNECT:
        return Outcome.retry("connection_lost")
    return Outcome.retry("provider_unavailable")


def _stuffed(mail: bytes) -> bytes:
    """With dots doubled and the end mark (RFC 5321, 4.5.2), but its line end."""
    if b"\r\n." in mail:
        mail = mail.replace(b"\r\n.", b"\r\n..")
    return mail + (b"." if mail.endswith(b"\r\n") else b"\r\n.")
