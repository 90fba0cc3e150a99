"""POST requests by libcurl, many at once, driven by the event loop.

libcurl multiplexes the requests of an ``https`` origin over a few HTTP/2 connections
and costs a fraction of what HTTP/2 in Python does. There is no thread and no polling,
and nothing is awaited for a single request: the answer comes by callback.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from functools import partial
from time import monotonic
from typing import Any

import pycurl

from clarion.runtime.delivery import LaneQueue
from clarion.runtime.http.connections import Connections, end_with_timeout

_log = logging.getLogger(__name__)

# libcurl looks at every transfer of a connection whenever one of them gets something.
_STREAMS = 100
_ERROR_NAMES = {
    number: name[2:].lower()
    for name, number in vars(pycurl).items()
    if name.startswith("E_") and not name.startswith("E_MULTI") and number > 0
}


class Failure(Enum):
    """Why there is no answer."""

    NOT_SENT = "not_sent"
    """The request never left as a whole: nobody can have acted on it."""
    NO_ANSWER = "no_answer"
    """The request left, or may have: the other side may have acted on it."""


@dataclass(slots=True)
class Answer:
    """What became of one request."""

    status: int
    """HTTP status; 0 with ``failure``."""
    body: bytes
    """May be cut short when ``error`` is set beside a status."""
    head: Sequence[bytes]
    """The lines of the response's head as they came."""
    retry_after: timedelta | None
    """Retry-After, whether it was given in seconds or as a date; six hours at most."""
    latency: timedelta
    """From handing the request to libcurl to the answer."""
    failure: Failure | None = None
    error: str = ""
    """libcurl's name for what went wrong, such as couldnt_connect."""

    def header(self, name: str) -> str:
        """The last header of that name, or an empty text."""
        wanted = name.lower().encode() + b":"
        for line in reversed(self.head):
            if line[: len(wanted)].lower() == wanted:
                return line[len(wanted) :].strip().decode("latin-1")
        return ""


Done = Callable[[Any, Answer], None]
"""Called once on the event loop with the context of ``post`` and the answer."""

_Posted = tuple[str, list[str], bytes, Done, Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much and how long."""

    in_flight: int = 1000
    """Requests under way at once; the others wait, the high lane first."""
    connections: int = 10
    """HTTP/2 connections, of 100 streams each."""
    plain_connections: int = 64
    """HTTP/1.1 connections, of one request each."""
    multiplex: bool = True
    """Speak HTTP/2 to an origin of ``https://``; otherwise HTTP/1.1."""
    connect_timeout: timedelta = timedelta(seconds=5)
    timeout: timedelta = timedelta(seconds=15)
    """For the whole request, connecting included; waiting for a turn not."""


class Transport:
    """Requests to one origin, such as https://fcm.googleapis.com.

    An origin of ``http://`` is spoken to in HTTP/1.1, with more connections, and so is
    any where ``Limits`` say so.
    """

    def __init__(self, origin: str, trust: str, limits: Limits | None = None) -> None:
        """Needs a running loop. ``trust`` is the PEM file of accepted authorities."""
        limits = limits or Limits()
        self._origin = origin.rstrip("/")
        self._trust = trust
        self._connect_ms = _milliseconds(limits.connect_timeout)
        self._timeout_ms = _milliseconds(limits.timeout)
        self._plain = not (limits.multiplex and origin.startswith("https://"))
        connections = limits.plain_connections if self._plain else limits.connections
        per_connection = 1 if self._plain else _STREAMS
        self._limit = min(limits.in_flight, connections * per_connection)
        self._idle: list[_Slot] = []
        self._running: dict[pycurl.Curl, _Slot] = {}
        self._waiting: LaneQueue[_Posted] = LaneQueue(otherwise="medium")
        self._closed = False
        self._most = connections
        self._connections = self._connect()

    @property
    def in_flight(self) -> int:
        """Requests that libcurl has in hand."""
        return len(self._running)

    def post(
        self,
        path: str,
        headers: list[str],
        body: bytes,
        done: Done,
        context: Any = None,
        lane: str = "medium",
    ) -> None:
        """Sends a request, now or when it is its turn; ``done`` tells the answer.

        ``headers`` are lines ("name: value") without line breaks, and must not be
        changed afterwards; requests that share the list object are cheaper. Nothing is
        ever sent twice: a request whose connection broke is reported, not repeated.
        """
        posted = (self._origin + path, headers, body, done, context)
        if self._closed:
            done(context, _unanswered(Failure.NOT_SENT, "closed"))
        elif len(self._running) < self._limit:
            self._start(posted)
        else:
            self._waiting.put(lane, posted)

    async def close(self) -> None:
        """Closes the connections; what has no answer by then is told so."""
        if self._closed:
            return
        self._closed = True
        for slot in self._running.values():
            slot.connections.drop(slot.easy)
            slot.connections.close()
            self._tell(slot, slot.lost("closed"))
        self._running.clear()
        while (posted := self._waiting.take()) is not None:
            *_, done, context = posted
            done(context, _unanswered(Failure.NOT_SENT, "closed"))
        self._connections.close()
        for slot in self._idle:
            slot.easy.close()

    def _start(self, posted: _Posted) -> None:
        slot = self._idle.pop() if self._idle else self._new_slot()
        slot.load(posted)
        slot.started = monotonic()
        if self._connections.are_stale():
            self._connections.retire()
            self._connections = self._connect()
        slot.connections = self._connections
        self._running[slot.easy] = slot
        slot.connections.start(slot.easy)

    def _new_slot(self) -> _Slot:
        slot = _Slot()
        set_option = slot.easy.setopt
        set_option(pycurl.CAINFO, self._trust)
        if self._plain:
            set_option(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        else:
            set_option(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
            # Wait for a stream of a connection rather than open one for each request.
            set_option(pycurl.PIPEWAIT, 1)
        set_option(pycurl.CONNECTTIMEOUT_MS, self._connect_ms)
        set_option(pycurl.TIMEOUT_MS, self._timeout_ms)
        set_option(pycurl.SOCKOPTFUNCTION, partial(self._tune, slot))
        return slot

    def _tune(self, slot: _Slot, fd: int, _purpose: int) -> int:
        slot.connections.opened(fd)
        try:
            end_with_timeout(fd, self._timeout_ms)
        except OSError:
            _log.debug("socket option refused", exc_info=True)
        return int(pycurl.SOCKOPT_OK)

    def _connect(self) -> Connections:
        return Connections(self._most, _STREAMS, self._finish)

    def _finish(self, easy: pycurl.Curl, number: int) -> None:
        slot = self._running.pop(easy)
        error = _ERROR_NAMES.get(number, f"curl_{number}") if number else ""
        self._tell(slot, slot.answer(error, monotonic()))
        self._idle.append(slot)
        while len(self._running) < self._limit and not self._closed:
            posted = self._waiting.take()
            if posted is None:
                return
            self._start(posted)

    def _tell(self, slot: _Slot, answer: Answer) -> None:
        done, context = slot.done, slot.context
        slot.context = None
        try:
            done(context, answer)
        except Exception:  # the edge: one caller's bug must not stop the others
            _log.exception("answer not taken")


class _Slot:
    """An easy handle with what it is sending; used again and again."""

    __slots__ = (
        *("easy", "connections", "done", "context", "started", "_url", "_headers"),
        *("_size", "_unread", "_left", "_chunks", "_head"),
    )

    def __init__(self) -> None:
        self.easy = easy = pycurl.Curl()
        self.connections: Connections
        self.done: Done = _nobody
        self.context: Any = None
        self.started = 0.0
        self._url = ""
        self._headers: list[str] = []
        self._size = -1
        self._unread = b""
        self._left = False
        self._chunks: list[bytes] = []
        self._head: list[bytes] = []
        easy.setopt(pycurl.POST, 1)
        easy.setopt(pycurl.NOSIGNAL, 1)
        easy.setopt(pycurl.NOPROGRESS, 1)
        easy.setopt(pycurl.PATH_AS_IS, 1)
        easy.setopt(pycurl.TCP_KEEPALIVE, 1)
        easy.setopt(pycurl.USERAGENT, "clarion")
        easy.setopt(pycurl.WRITEFUNCTION, self._chunks.append)
        easy.setopt(pycurl.HEADERFUNCTION, self._head.append)
        # The body is read by a callback that cannot rewind. Otherwise libcurl sends a
        # request again by itself when a connection it had used before breaks without
        # an answer: a message that was taken would be sent twice and nobody knew.
        easy.setopt(pycurl.READFUNCTION, self._read)
        easy.setopt(pycurl.SEEKFUNCTION, _refuse_rewind)

    def load(self, posted: _Posted) -> None:
        url, headers, body, self.done, self.context = posted
        set_option = self.easy.setopt
        if url is not self._url:
            self._url = url
            set_option(pycurl.URL, url)
        if headers is not self._headers:
            self._headers = headers
            set_option(pycurl.HTTPHEADER, headers)
        if len(body) != self._size:
            self._size = len(body)
            set_option(pycurl.POSTFIELDSIZE, self._size)
        self._unread = body
        # A request without a body is away with its head.
        self._left = not body

    def _read(self, size: int) -> bytes:
        self._left = True
        unread = self._unread
        self._unread = unread[size:]
        return unread[:size]

    def answer(self, error: str, now: float) -> Answer:
        get_info = self.easy.getinfo
        status = get_info(pycurl.RESPONSE_CODE)
        latency = timedelta(seconds=now - self.started)
        if status < 200:
            # Without an error it is an answer that libcurl takes for none.
            answer = self.lost(error or "no_status", latency)
        else:
            wait = get_info(pycurl.RETRY_AFTER) if status >= 300 else 0
            answer = Answer(
                status,
                b"".join(self._chunks),
                self._head.copy(),
                timedelta(seconds=wait) if wait > 0 else None,
                latency,
                error=error,
            )
        self._chunks.clear()
        self._head.clear()
        return answer

    def lost(self, error: str, latency: timedelta = timedelta(0)) -> Answer:
        failure = Failure.NO_ANSWER if self._left else Failure.NOT_SENT
        return _unanswered(failure, error, latency)


def _unanswered(
    failure: Failure, error: str, latency: timedelta = timedelta(0)
) -> Answer:
    return Answer(0, b"", (), None, latency, failure, error)


def _refuse_rewind(_offset: int, _origin: int) -> int:
    return int(pycurl.SEEKFUNC_FAIL)


def _nobody(_context: Any, _answer: Answer) -> None:
    pass


def _milliseconds(span: timedelta) -> int:
    return max(1, int(span.total_seconds() * 1000))
