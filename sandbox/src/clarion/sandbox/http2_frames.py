"""HTTP/2 frames (RFC 9113, 4 to 6): cutting, checking and writing them. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_FRAME = 16_384
"""Largest payload that we take, and that any peer takes."""
MAX_WINDOW = (1 << 31) - 1
USUAL_WINDOW = 65_535
USUAL_TABLE = 4096
"""Bytes of HPACK's table unless a peer says otherwise."""

_HEAD = struct.Struct(">HBBBI")
_SETTING = struct.Struct(">HI")
_WORD = struct.Struct(">I")


# Types and flags are plain numbers: arithmetic on enums costs more than a frame.
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = range(5)
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(5, 10)

END_STREAM = ACK = 1
END_HEADERS = 4
PADDED = 8
WITH_PRIORITY = 32


class Setting(IntEnum):
    """Names of settings."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class Code(IntEnum):
    """Error codes."""

    PROTOCOL_ERROR = 1
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class Http2Error(Exception):
    """The peer broke the protocol; the connection ends with this code."""

    def __init__(self, code: Code, problem: str) -> None:
        super().__init__(problem)
        self.code = code


# Kinds whose payload has one length, and those that must (not) name a stream.
_LENGTHS = {PRIORITY: 5, RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}
_OF_CONNECTION = frozenset((SETTINGS, PING, GOAWAY))
_OF_STREAM = frozenset((DATA, HEADERS, PRIORITY, RST_STREAM, CONTINUATION))

Frame = tuple[int, int, int, bytes]
"""Kind, flags, stream, payload."""


class FrameCutter:
    """Cuts what is read into frames and keeps what is left for the next read."""

    def __init__(self) -> None:
        self._rest = b""
        self._begun = False

    def frames(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete; raises Http2Error for one that cannot be."""
        data = self._rest + data
        self._rest = b""
        at, end = 0, len(data)
        if not self._begun:
            start = data[: len(PREFACE)]
            if not PREFACE.startswith(start):
                raise Http2Error(Code.PROTOCOL_ERROR, "no HTTP/2 preface")
            if end < len(PREFACE):
                self._rest = data
                return
            self._begun = True
            at = len(PREFACE)
        while end - at >= _HEAD.size:
            high, low, kind, flags, stream = _HEAD.unpack_from(data, at)
            length = high << 8 | low
            if length > MAX_FRAME:
                raise Http2Error(Code.FRAME_SIZE_ERROR, "frame too large")
            start_of_next = at + _HEAD.size + length
            if start_of_next > end:
                break
            stream &= MAX_WINDOW
            _check(kind, stream, length)
            yield kind, flags, stream, data[at + _HEAD.size : start_of_next]
            at = start_of_next
        self._rest = data[at:]


def _check(kind: int, stream: int, length: int) -> None:
    if stream == 0 and kind in _OF_STREAM:
        raise Http2Error(Code.PROTOCOL_ERROR, "frame lacks its stream")
    if stream and kind in _OF_CONNECTION:
        raise Http2Error(Code.PROTOCOL_ERROR, "frame of the connection in a stream")
    if _LENGTHS.get(kind, length) != length:
        raise Http2Error(Code.FRAME_SIZE_ERROR, "frame has a wrong size")


def content(flags: int, payload: bytes) -> bytes:
    """Payload of DATA or HEADERS without padding and priority."""
    start, end = 0, len(payload)
    if flags & PADDED:
        start = 1
        end -= payload[0] if payload else 1
    if flags & WITH_PRIORITY:
        start += 5
    if start > end:
        raise Http2Error(Code.PROTOCOL_ERROR, "more padding than payload")
    return payload[start:end]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame as it is sent."""
    length = len(payload)
    return _HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


def settings_frame(values: dict[Setting, int]) -> bytes:
    payload = b"".join(_SETTING.pack(name, value) for name, value in values.items())
    return frame(SETTINGS, 0, 0, payload)


def settings_of(payload: bytes) -> Iterator[tuple[int, int]]:
    """Names and values; raises Http2Error for values that are not allowed."""
    if len(payload) % _SETTING.size:
        raise Http2Error(Code.FRAME_SIZE_ERROR, "settings of a wrong size")
    for name, value in _SETTING.iter_unpack(payload):
        if name == Setting.INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
            raise Http2Error(Code.FLOW_CONTROL_ERROR, "window too large")
        if (name == Setting.ENABLE_PUSH and value > 1) or (
            name == Setting.MAX_FRAME_SIZE and not MAX_FRAME <= value < 1 << 24
        ):
            raise Http2Error(Code.PROTOCOL_ERROR, "setting out of its range")
        yield name, value


def window_update(stream: int, more: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, _WORD.pack(more))


def reset(stream: int, code: Code) -> bytes:
    return frame(RST_STREAM, 0, stream, _WORD.pack(code))


def goodbye(last_stream: int, code: Code) -> bytes:
    payload = _WORD.pack(last_stream) + _WORD.pack(code)
    return frame(GOAWAY, 0, 0, payload)


def word(payload: bytes) -> int:
    """The number of a WINDOW_UPDATE, without its reserved bit."""
    number: int = _WORD.unpack(payload)[0]
    return number & MAX_WINDOW
