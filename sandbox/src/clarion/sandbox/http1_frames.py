"""HTTP/1.1 messages out of bytes (RFC 9112): where one ends, what its head says."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_HEAD = 64 * 1024
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?", re.DOTALL)
_STATUS = re.compile(r"HTTP/1\.[01] ([1-5][0-9]{2})(?: .*)?")
_UNTIL_END = -1


class Http1Error(Exception):
    """What came is no message; `status` is what a server answers to that."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status = status


@dataclass(slots=True)
class Message:
    """A request or an answer. Header names are in lower case."""

    start: str
    """The request line or the status line."""
    headers: dict[str, str]
    body: bytes = b""

    @property
    def keeps_open(self) -> bool:
        """Whether another message may follow on the connection."""
        connection = self.headers.get("connection", "").lower()
        if "close" in connection:
            return False
        is_old = self.start.endswith("HTTP/1.0") or self.start.startswith("HTTP/1.0")
        return not is_old or "keep-alive" in connection

    @property
    def status(self) -> int:
        """Of an answer; raises Http1Error where it has none."""
        match = _STATUS.fullmatch(self.start)
        if match is None:
            raise Http1Error(502, "no status line")
        return int(match[1])


class MessageCutter:
    """Cuts what comes in on one connection into messages."""

    def __init__(self, max_body: int, *, answers: bool = False) -> None:
        self._max_body = max_body
        self._answers = answers
        self._data = bytearray()
        self._head: Message | None = None
        self._length = 0
        self._chunks: bytearray | None = None
        self._in_trailers = False

    @property
    def expects_continue(self) -> bool:
        """Whether the sender of the body waits to be told to send it."""
        if self._head is None or self._data or self._chunks:
            return False
        return self._head.headers.get("expect", "").lower() == "100-continue"

    @property
    def has_more(self) -> bool:
        """Whether something came that no message has taken."""
        return bool(self._data)

    def feed(self, data: bytes) -> None:
        """Takes what came in; `next` tells what is whole."""
        self._data += data

    def next(self) -> Message | None:
        """The next message, once it is whole. Raises Http1Error."""
        while self._head is None:
            if not self._take_head():
                return None
        if self._chunks is not None:
            if not self._take_chunks(self._chunks):
                return None
            return self._finish(bytes(self._chunks))
        length = self._length
        if length == _UNTIL_END:
            if len(self._data) > self._max_body:
                raise Http1Error(413, "body too large")
            return None
        if len(self._data) < length:
            return None
        body = bytes(self._data[:length])
        del self._data[:length]
        return self._finish(body)

    def end(self) -> Message | None:
        """The connection is over: the message whose body ends with it, if any."""
        if self._head is None or self._length != _UNTIL_END:
            return None
        return self._finish(bytes(self._data))

    def _finish(self, body: bytes) -> Message | None:
        message, self._head, self._chunks = self._head, None, None
        if message is not None:
            message.body = body
        return message

    def _take_head(self) -> bool:
        data = self._data
        while data.startswith(b"\r\n"):  # some say goodbye to a body so
            del data[:2]
        end = data.find(b"\r\n\r\n", 0, MAX_HEAD)
        if end < 0:
            if len(data) > MAX_HEAD:
                raise Http1Error(431, "head too large")
            return False
        start, *lines = data[:end].decode("utf-8", "replace").split("\r\n")
        del data[: end + 4]
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or _NAME.fullmatch(name) is None:
                raise Http1Error(400, "bad header line")
            name, value = name.lower(), value.strip(" \t")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        message = Message(start, headers)
        if self._answers and message.status < 200:
            return True  # on the way; the answer follows
        self._head = message
        self._measure(message)
        return True

    def _measure(self, message: Message) -> None:
        """Finds out how its body ends."""
        coding = message.headers.get("transfer-encoding", "").lower()
        length = message.headers.get("content-length")
        self._length, self._in_trailers = 0, False
        if self._answers and message.status in (204, 304):
            return
        if coding:
            if coding != "chunked":
                raise Http1Error(501, "unknown transfer coding")
            self._chunks = bytearray()
        elif length is not None:
            if _LENGTH.fullmatch(length) is None:
                raise Http1Error(400, "bad content length")
            self._length = int(length)
            if self._length > self._max_body:
                raise Http1Error(413, "body too large")
        elif self._answers:
            self._length = _UNTIL_END

    def _take_chunks(self, chunks: bytearray) -> bool:
        """Moves what is whole of a chunked body; True at its end."""
        data = self._data
        while (end := data.find(b"\r\n", 0, MAX_HEAD)) >= 0:
            if self._in_trailers:
                del data[: end + 2]
                if not end:
                    return True
                continue
            match = _CHUNK.fullmatch(data[:end])
            if match is None:
                raise Http1Error(400, "bad chunk")
            size = int(match[1], 16)
            if len(chunks) + size > self._max_body:
                raise Http1Error(413, "body too large")
            if not size:
                self._in_trailers = True
                del data[: end + 2]
                continue
            after = end + 2 + size
            if len(data) < after + 2:
                return False
            if data[after : after + 2] != b"\r\n":
                raise Http1Error(400, "chunk without an end")
            chunks += data[end + 2 : after]
            del data[: after + 2]
        if len(data) > MAX_HEAD:
            raise Http1Error(400, "bad chunk")
        return False
