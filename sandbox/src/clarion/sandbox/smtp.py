"""An SMTP server: pipelining, SIZE, STARTTLS, optional AUTH, scripted replies.

Written on asyncio.Protocol because the load runs need it: see the README for the rates
of this one and of aiosmtpd, which reads a mail line by line.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import ssl
from dataclasses import dataclass
from typing import cast

from clarion.sandbox.mail import mail_ids, read_mail
from clarion.sandbox.record import Arrival, Store
from clarion.sandbox.script import Action, Script

MAX_SIZE = 32 << 20
MAX_LINE = 4096
MAX_RECIPIENTS = 1000
_PATH = re.compile(r"(?:FROM|TO):\s*<([^>]*)>\s*(.*)", re.IGNORECASE)
_ENHANCED = {"2": "2.0.0", "4": "4.3.0", "5": "5.0.0"}
_WORDS = {
    "450": "Mailbox unavailable",
    "451": "Local error in processing",
    "452": "Insufficient system storage",
    "421": "Service not available, closing transmission channel",
    "550": "Mailbox unavailable",
    "552": "Exceeded storage allocation",
    "554": "Transaction failed",
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recipient:
    """An accepted RCPT and the rule that is to act on its message."""

    address: str
    action: Action | None


class SmtpProtocol(asyncio.Protocol):
    """One connection. Registers itself in `connections` while it is open."""

    def __init__(
        self,
        store: Store,
        script: Script,
        connections: set[SmtpProtocol],
        tls: ssl.SSLContext | None,
    ) -> None:
        self._store = store
        self._script = script
        self._connections = connections
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._replies: list[str] = []
        self._held = False
        self._reading_mail = False
        self._searched = 0
        self._oversized = False
        self._login_lines = 0
        self._greeted = False
        self._secure = False
        self._sender: str | None = None
        self._recipients: list[Recipient] = []
        self._upgrade: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)
        self._say("220 localhost ESMTP Clarion sandbox")
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._work()

    def abort(self) -> None:
        if self._upgrade is not None:
            self._upgrade.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _work(self) -> None:
        """Take what the buffer holds; replies to a pipeline go out together."""
        while self._buffer and not self._held and self._transport is not None:
            if self._reading_mail:
                if not self._take_mail():
                    break
                continue
            end = self._buffer.find(b"\n")
            if end < 0:
                if len(self._buffer) > MAX_LINE:
                    self._buffer.clear()
                    self._say("500 5.5.2 Line too long")
                break
            line = bytes(self._buffer[:end]).rstrip(b"\r").decode("utf-8", "replace")
            del self._buffer[: end + 1]
            self._command(line)
        self._flush()

    def _command(self, line: str) -> None:
        if self._login_lines:
            # Whatever is said here is a secret of the client's; all are welcome.
            self._login_lines -= 1
            more = self._login_lines
            self._say("334 UGFzc3dvcmQ6" if more else "235 2.7.0 Authenticated")
            return
        verb, _, rest = line.partition(" ")
        command = getattr(self, f"_on_{verb.lower()}", None) if verb.isalpha() else None
        if command is None:
            self._say("500 5.5.2 Command not recognised")
        else:
            command(rest.strip())

    def _on_ehlo(self, rest: str) -> None:
        if not rest:
            self._say("501 5.5.4 EHLO needs a name")
            return
        self._greeted = True
        self._reset()
        names = ["localhost", f"SIZE {MAX_SIZE}", "PIPELINING", "8BITMIME", "SMTPUTF8"]
        names += ["ENHANCEDSTATUSCODES", "AUTH PLAIN LOGIN"]
        if self._tls is not None and not self._secure:
            names.append("STARTTLS")
        for name in names[:-1]:
            self._say(f"250-{name}")
        self._say(f"250 {names[-1]}")

    def _on_helo(self, rest: str) -> None:
        self._greeted = True
        self._reset()
        self._say("250 localhost")

    def _on_auth(self, rest: str) -> None:
        method, _, initial = rest.partition(" ")
        if method.upper() == "PLAIN":
            self._login_lines = 0 if initial else 1
            self._say("235 2.7.0 Authenticated" if initial else "334 ")
        elif method.upper() == "LOGIN":
            self._login_lines = 1 if initial else 2
            self._say("334 UGFzc3dvcmQ6" if initial else "334 VXNlcm5hbWU6")
        else:
            self._say("504 5.5.4 Mechanism not supported")

    def _on_mail(self, rest: str) -> None:
        match = _PATH.fullmatch(rest)
        if not self._greeted or self._sender is not None:
            self._say("503 5.5.1 Bad sequence of commands")
        elif match is None or not rest.upper().startswith("FROM:"):
            self._say("501 5.1.7 Syntax: MAIL FROM:<address>")
        else:
            size = re.search(r"(?i)\bSIZE=(\d+)", match[2])
            if size is not None and int(size[1]) > MAX_SIZE:
                self._say("552 5.3.4 Message too big")
                return
            self._sender = match[1]
            self._say("250 2.1.0 OK")

    def _on_rcpt(self, rest: str) -> None:
        match = _PATH.fullmatch(rest)
        if self._sender is None:
            self._say("503 5.5.1 Bad sequence of commands")
            return
        if match is None or not rest.upper().startswith("TO:") or not match[1]:
            self._say("501 5.1.3 Syntax: RCPT TO:<address>")
            return
        if len(self._recipients) >= MAX_RECIPIENTS:
            self._say("452 4.5.3 Too many recipients")
            return
        address = match[1]
        action = self._script.action_for("smtp", "email", address)
        if action is not None and action.stage == "rcpt":
            if action.hang_up == "before":
                self._store.refused("smtp", "hang_up_before")
                self._hold(action.delay_seconds, None)
                return
            reply = _scripted_reply(action, address)
            if reply is not None:
                arrival = self._arrival(address, b"")
                self._store.add(arrival, _outcome(reply), accepted=False)
                self._answer(action.delay_seconds, reply)
                return
        self._recipients.append(Recipient(address, action))
        self._say("250 2.1.5 OK")

    def _on_data(self, rest: str) -> None:
        if not self._recipients:
            self._say("503 5.5.1 No valid recipients")
            return
        self._reading_mail = True
        self._searched = 0
        self._oversized = False
        self._say("354 End data with <CR><LF>.<CR><LF>")

    def _on_rset(self, rest: str) -> None:
        self._reset()
        self._say("250 2.0.0 OK")

    def _on_noop(self, rest: str) -> None:
        self._say("250 2.0.0 OK")

    def _on_vrfy(self, rest: str) -> None:
        self._say("252 2.5.0 Cannot verify, send anyway")

    def _on_quit(self, rest: str) -> None:
        self._say("221 2.0.0 Bye")
        self._flush()
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def _on_starttls(self, rest: str) -> None:
        if self._tls is None or self._secure:
            self._say("502 5.5.1 Not available")
            return
        self._say("220 2.0.0 Ready to start TLS")
        self._flush()
        # Nothing sent in the clear may be taken for a command under TLS.
        self._buffer.clear()
        self._held = True
        self._upgrade = self._loop.create_task(self._start_tls(), name="smtp-starttls")

    async def _start_tls(self) -> None:
        if self._transport is None or self._tls is None:
            return
        try:
            self._transport = cast(
                asyncio.Transport,
                await self._loop.start_tls(
                    self._transport, self, self._tls, server_side=True
                ),
            )
        except (OSError, ssl.SSLError):
            logger.warning("smtp client failed to start tls", exc_info=True)
            return
        self._secure = True
        self._greeted = False
        self._held = False
        self._reset()
        self._work()

    def _take_mail(self) -> bool:
        """Finish the mail when its end is in the buffer."""
        if self._buffer.startswith(b".\r\n"):
            end, skip = 0, 3
        else:
            end = self._buffer.find(b"\r\n.\r\n", max(0, self._searched - 4))
            skip = 5
        if end < 0:
            if len(self._buffer) > MAX_SIZE:
                self._oversized = True
                del self._buffer[:-4]
            self._searched = len(self._buffer)
            return False
        raw = bytes(self._buffer[: end + 2 if end else 0])
        del self._buffer[: end + skip]
        self._reading_mail = False
        if self._oversized:
            self._reset()
            self._say("552 5.3.4 Message too big")
            return True
        if raw.startswith(b"."):
            raw = raw[1:]
        self._settle(raw.replace(b"\r\n..", b"\r\n."))
        return True

    def _settle(self, raw: bytes) -> None:
        """Record the mail for each recipient and give one answer for all."""
        arrivals = [(self._arrival(r.address, raw), r) for r in self._recipients]
        actions = [r.action for r in self._recipients if r.action is not None]
        delay = max((action.delay_seconds for action in actions), default=0.0)
        refusal = next(
            (
                reply
                for r in self._recipients
                if r.action is not None
                and (reply := _scripted_reply(r.action, r.address)) is not None
            ),
            None,
        )
        self._reset()
        if any(a.hang_up == "before" for a in actions):
            for arrival, _ in arrivals:
                self._store.add(arrival, "hang_up_before", accepted=False)
            self._hold(delay, None)
            return
        hang_up = any(a.hang_up == "after" for a in actions)
        for arrival, _ in arrivals:
            if refusal is not None:
                self._store.add(arrival, _outcome(refusal), accepted=False)
            else:
                outcome = "hang_up_after" if hang_up else "accepted"
                self._store.add(arrival, outcome, accepted=True)
        if hang_up:
            self._hold(delay, None)
            return
        queued = f"250 2.0.0 OK queued as {arrivals[0][0].provider_message_id}"
        self._answer(delay, refusal or queued)

    def _arrival(self, address: str, raw: bytes) -> Arrival:
        notification_id, delivery_id = mail_ids(raw)
        return Arrival(
            "smtp",
            "email",
            address,
            notification_id,
            delivery_id,
            raw,
            read_mail,
            secrets.token_hex(8),
            {"sender": self._sender or ""},
        )

    def _answer(self, delay_seconds: float, reply: str) -> None:
        if delay_seconds:
            self._hold(delay_seconds, reply)
        else:
            self._say(reply)

    def _hold(self, delay_seconds: float, reply: str | None) -> None:
        """Stop reading commands for a while; then answer, or hang up without one."""
        self._flush()
        self._held = True
        self._loop.call_later(delay_seconds, self._release, reply)

    def _release(self, reply: str | None) -> None:
        if self._transport is None:
            return
        if reply is None:
            self._transport.abort()
            return
        self._held = False
        self._say(reply)
        self._work()

    def _say(self, reply: str) -> None:
        self._replies.append(reply)

    def _flush(self) -> None:
        if self._replies and self._transport is not None:
            text = "\r\n".join([*self._replies, ""])
            self._transport.write(text.encode("utf-8"))
        self._replies.clear()

    def _reset(self) -> None:
        self._sender = None
        self._recipients = []


def _scripted_reply(action: Action, address: str) -> str | None:
    """The reply line of a scripted refusal; None when the action lets the mail pass."""
    code = action.code or ("550 5.1.1" if action.unregistered else None)
    if code is None and action.status is not None:
        code = str(action.status)
    if code is None or code.startswith("2"):
        return None
    basic, _, enhanced = code.partition(" ")
    enhanced = enhanced or _ENHANCED[basic[0]]
    if isinstance(action.body, str):
        words = " ".join(action.body.split())
    elif action.retry_after is not None:
        words = f"Greylisted, please try again in {action.retry_after:g} seconds"
    elif enhanced == "5.1.1":
        words = f"<{address}>: Recipient address rejected: User unknown"
    else:
        words = _WORDS.get(basic, "Refused")
    return f"{basic} {enhanced} {words}"


def _outcome(reply: str) -> str:
    return " ".join(reply.split(" ", 2)[:2])
