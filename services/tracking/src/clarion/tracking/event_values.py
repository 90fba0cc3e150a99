"""Values of an event as they are stored; what cannot be stored is refused. Pure."""

from __future__ import annotations

from binascii import unhexlify
from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

NO_ID = bytes(16)
"""The delivery id of what concerns no delivery."""

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_EPOCH_SECONDS = int(EPOCH.timestamp())
_LAST = (1 << 51) - 1  # in 2071; keeps every product of it within 64 bits
_MICROSECOND = timedelta(microseconds=1)

# PostgreSQL refuses index rows over 2.7 kB; the contract's own limits are narrower.
NAME_LENGTH = 128
REASON_LENGTH = 256
CODE_LENGTH = 512


class MalformedEventError(ValueError):
    """The event lacks what every event must have; the text says what."""


def uuid_bytes(text: str, field: str) -> bytes:
    """A UUID's 16 bytes; raises MalformedEventError naming the field."""
    try:
        value = unhexlify(text.replace("-", ""))
    except ValueError:
        value = b""
    if len(value) != 16:
        raise MalformedEventError(f"{field} is not a UUID")
    return value


def uuid_text(value: bytes) -> str:
    """The usual form; empty for NO_ID."""
    if value == NO_ID:
        return ""
    h = value.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def micros(time: Timestamp) -> int:
    """Microseconds since 2000 UTC: how PostgreSQL stores an instant.

    What lies before 2000 or after 2071 becomes the nearest instant within.
    """
    at = (time.seconds - _EPOCH_SECONDS) * 1_000_000 + time.nanos // 1000
    return at if 0 <= at <= _LAST else min(max(at, 0), _LAST)


def micros_long(span: Duration) -> int:
    """A span's microseconds, within the same limits."""
    return min(max(span.seconds * 1_000_000 + span.nanos // 1000, 0), _LAST)


def micros_of(time: datetime) -> int:
    """The same of an aware datetime."""
    return (time - EPOCH) // _MICROSECOND


def timestamp(at: int) -> Timestamp:
    """The way back."""
    seconds, rest = divmod(at, 1_000_000)
    return Timestamp(seconds=seconds + _EPOCH_SECONDS, nanos=rest * 1000)


def clean(text: str, length: int = NAME_LENGTH) -> str:
    """Without NUL, which PostgreSQL's text cannot hold, and not over-long."""
    if "\0" in text:
        text = text.replace("\0", "")
    return text[:length] if len(text) > length else text
