"""One connection to Valkey for what there is most of, beside the pool of redis-py.

redis-py takes a connection out of its pool for each command, with locks, hooks and
timers: twice of what all else about a call costs. Here commands share one connection
and are answered in order. Whatever goes wrong on it is left to redis-py, which sends
the command again: it knows how to wait, to authenticate and what each error means.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

from hiredis import HiredisError, Reader, pack_command
from redis.asyncio import Redis

_COMMANDS = frozenset({"EVALSHA", "MGET", "MSETEX"})
"""Answered alike whatever the version of the protocol, and safe to send again."""
_ANSWER_SECONDS = 2.0
_CONNECT_SECONDS = 1.0
_REST_SECONDS = 1.0
_MISSING = object()


class LineError(Exception):
    """There is no answer from this line; another connection may have one."""


class Line(asyncio.Protocol):
    """One connection; answers come in the order of the commands."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = Reader(
            protocolError=LineError, replyError=LineError, notEnoughData=_MISSING
        )
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # That of uvloop is no instance of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        while self._waiting:
            self._answer(LineError("the connection was lost"))

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (answer := self._reader.gets()) is not _MISSING:
                self._answer(answer)
        except (LineError, HiredisError, IndexError):
            self.close()  # what comes after this cannot be told apart

    @property
    def is_open(self) -> bool:
        """Whether commands can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, command: Sequence[Any]) -> Any:
        """The answer to a command; LineError where there is none."""
        if self._transport is None:
            raise LineError("the connection is closed")
        try:
            packed = pack_command(tuple(command))
        except TypeError as error:
            raise LineError("redis-py knows more types") from error
        future = self._loop.create_future()
        self._waiting.append(future)
        self._transport.write(packed)
        late = self._loop.call_later(_ANSWER_SECONDS, self.close)
        try:
            return await future
        except asyncio.CancelledError:
            # Who waits less long than we do must not find a dead connection again.
            self.close()
            raise
        finally:
            late.cancel()

    def close(self) -> None:
        """Ends the connection; who waits for answers gets none."""
        if self._transport is not None:
            self._transport.abort()

    def _answer(self, answer: Any) -> None:
        future = self._waiting.popleft()
        if future.done():
            return
        if isinstance(answer, LineError):
            future.set_exception(answer)
        else:
            future.set_result(answer)


class Client(Redis):  # type: ignore[misc]  # a class of redis-py
    """A client of redis-py that has a line of its own for some commands."""

    has_line = False
    """Whether a line can be opened: its own connecting knows plain TCP only."""
    _line: Line | None = None
    _dialling: asyncio.Task[None] | None = None
    _resting_until = 0.0

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """As redis-py does, and with its errors."""
        if self.has_line and args[0] in _COMMANDS:
            line = self._line
            if line is None or not line.is_open:
                self._dial()
            else:
                try:
                    return await line.ask(args)
                except LineError:
                    pass  # sent again by redis-py, which knows what it means
        return await super().execute_command(*args, **options)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Closes the line as well."""
        self.has_line = False
        if self._dialling is not None:
            self._dialling.cancel()
            await asyncio.wait({self._dialling})
        if self._line is not None:
            self._line.close()
            await asyncio.sleep(0)  # the transport ends in its own turn
        await super().aclose(close_connection_pool)

    def _dial(self) -> None:
        """Opens the line while redis-py serves; at most once a second."""
        loop = asyncio.get_running_loop()
        if self._dialling is not None or loop.time() < self._resting_until:
            return
        self._dialling = loop.create_task(self._open(), name="valkey-line")

    async def _open(self) -> None:
        given = self.connection_pool.connection_kwargs
        loop = asyncio.get_running_loop()
        line: Line | None = None
        self._resting_until = loop.time() + _REST_SECONDS
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                _, line = await loop.create_connection(
                    Line, given.get("host", "localhost"), given.get("port", 6379)
                )
                if given.get("password"):
                    name = given.get("username")
                    who = (name,) if name else ()
                    await line.ask(("AUTH", *who, given["password"]))
                if given.get("db"):
                    await line.ask(("SELECT", str(given["db"])))
            self._line = line
        except (LineError, OSError, TimeoutError):
            pass  # redis-py tells whoever asks
        finally:
            if self._line is not line and line is not None:
                line.close()
            self._dialling = None
