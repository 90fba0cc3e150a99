"""Commands and replies on an open connection: no task, and no wait for each command."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

_MOST_BYTES = 64 * 1024
"""Of what no reply is made of yet: the lines of a reply are 512 octets (RFC 5321)."""


class MalformedReplyError(Exception):
    """What the server said is no reply of the protocol; the connection is closed."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A code and its text, the lines of which are separated by line feeds."""

    code: int
    text: str


class SmtpDialogue(asyncio.Protocol):
    """Takes over a connection that is greeted, secured and logged in.

    Commands that are said together are written at once; their replies are taken one
    by one, in order.
    """

    def __init__(
        self, transport: asyncio.Transport, timeout: float, *, pipelines: bool
    ) -> None:
        """``timeout`` is for each reply. The server takes ``pipelines`` or not."""
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._timeout = timeout
        self.pipelines = pipelines
        self._buffer = b""
        self._lines: list[str] = []
        self._replies: deque[Reply] = deque()
        self._awaited = 0
        self._turn: asyncio.Future[None] | None = None
        self._lost: Exception | None = None
        transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        """Whether anything can be said."""
        return self._lost is None and not self._transport.is_closing()

    def say(self, *commands: bytes) -> None:
        """Writes commands (without line ends), or a mail with its end mark.

        Raises ConnectionError where nobody listens any more.
        """
        if not self.is_open:
            raise ConnectionResetError("the connection is closed")
        self._awaited += len(commands)
        self._transport.write(b"\r\n".join((*commands, b"")))

    async def reply(self) -> Reply:
        """The reply to the first command that has none yet.

        Raises TimeoutError, ConnectionError and MalformedReplyError.
        """
        if not self._replies:
            await self._arrival()
        return self._replies.popleft()

    def close(self) -> None:
        """Closes the connection without a word."""
        if not self._transport.is_closing():
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Cuts replies out of what came."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._take(line.rstrip(b"\r"))
        if len(self._buffer) > _MOST_BYTES or len(self._lines) > _MOST_BYTES // 512:
            self._lose(MalformedReplyError("a reply without an end"))
        if self._replies:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells whoever waits."""
        self._lose(exc or ConnectionResetError("the server closed the connection"))

    def _take(self, line: bytes) -> None:
        if self._lost is not None:
            return
        code, rest = line[:3], line[3:]
        if len(code) < 3 or not code.isdigit() or rest[:1] not in (b"", b" ", b"-"):
            self._lose(MalformedReplyError("a line that is no reply"))
            return
        self._lines.append(rest[1:].strip().decode("utf-8", "replace"))
        if rest[:1] == b"-":
            return
        text, self._lines = "\n".join(self._lines), []
        if self._awaited:
            self._awaited -= 1
            self._replies.append(Reply(int(code), text))
        else:
            # Said unasked, it is about the connection (421): for the reply to what is
            # asked next it must not be taken.
            self._lose(ConnectionResetError("the server speaks unasked"))

    async def _arrival(self) -> None:
        if self._lost is not None:
            raise self._lost
        self._turn = self._loop.create_future()
        late = self._loop.call_later(self._timeout, self._lose, TimeoutError())
        try:
            await self._turn
        finally:
            late.cancel()

    def _lose(self, error: Exception) -> None:
        """Nothing is said or taken any more, but for the replies that are there."""
        if self._lost is None:
            self._lost = error
            self.close()
        if not self._replies:
            self._wake()

    def _wake(self) -> None:
        if self._turn is None or self._turn.done():
            return
        if self._replies or self._lost is None:
            self._turn.set_result(None)
        else:
            self._turn.set_exception(self._lost)
