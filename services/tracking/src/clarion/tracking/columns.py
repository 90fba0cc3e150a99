"""Columns of a batch as PostgreSQL's binary arrays: what ``unnest`` turns into rows.

psycopg would make a UUID or datetime object for each value and then encode it, which
costs more than the rest of a batch; here a value is a slice of bytes all the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Any, ClassVar

from psycopg import AsyncConnection
from psycopg.adapt import Dumper
from psycopg.pq import Format

_HEADER = Struct(">iiIii")
_PREFIXED_LONG = Struct(">iq").pack
_PREFIXED_INT = Struct(">ii").pack
_PREFIXED_SHORT = Struct(">ih").pack
_LENGTH = Struct(">i").pack
_NULL = _LENGTH(-1)
_UUID_PREFIX = _LENGTH(16)


class _Array(bytes):
    """An encoded array."""

    oid: ClassVar[int]
    """Of the array type, not of its elements (pg_type)."""


class UuidArray(_Array):
    """uuid[]"""

    oid = 2951


class TextArray(_Array):
    """text[]"""

    oid = 1009


class BytesArray(_Array):
    """bytea[]"""

    oid = 1001


class TimeArray(_Array):
    """timestamptz[]"""

    oid = 1185


class LongArray(_Array):
    """bigint[]"""

    oid = 1016


class IntArray(_Array):
    """integer[]"""

    oid = 1007


class ShortArray(_Array):
    """smallint[]"""

    oid = 1005


_ELEMENTS: dict[type[_Array], int] = {
    UuidArray: 2950,
    TextArray: 25,
    BytesArray: 17,
    TimeArray: 1184,
    LongArray: 20,
    IntArray: 23,
    ShortArray: 21,
}


def uuids(values: Sequence[bytes]) -> UuidArray:
    """Each value 16 bytes."""
    body = b"".join([_UUID_PREFIX + value for value in values])
    return UuidArray(_header(UuidArray, len(values)) + body)


def texts(values: Sequence[str | None]) -> TextArray:
    """Texts without NUL."""
    seen: dict[str | None, bytes] = {None: _NULL}
    parts: list[bytes] = []
    for value in values:
        # Most columns repeat a few words; encoding those once is half the cost.
        encoded = seen.get(value)
        if encoded is None and value is not None:
            raw = value.encode()
            encoded = seen[value] = _LENGTH(len(raw)) + raw
        parts.append(encoded or _NULL)
    return TextArray(_header(TextArray, len(values)) + b"".join(parts))


def blobs(values: Sequence[bytes | None]) -> BytesArray:
    """Bytes as they are."""
    body = b"".join([_NULL if v is None else _LENGTH(len(v)) + v for v in values])
    return BytesArray(_header(BytesArray, len(values)) + body)


def times(values: Sequence[int | None]) -> TimeArray:
    """Microseconds since 2000-01-01 UTC."""
    return TimeArray(_header(TimeArray, len(values)) + _longs(values))


def longs(values: Sequence[int | None]) -> LongArray:
    """64-bit numbers."""
    return LongArray(_header(LongArray, len(values)) + _longs(values))


def ints(values: Sequence[int]) -> IntArray:
    """32-bit numbers."""
    body = b"".join([_PREFIXED_INT(4, value) for value in values])
    return IntArray(_header(IntArray, len(values)) + body)


def shorts(values: Sequence[int]) -> ShortArray:
    """16-bit numbers."""
    body = b"".join([_PREFIXED_SHORT(2, value) for value in values])
    return ShortArray(_header(ShortArray, len(values)) + body)


def register(connection: AsyncConnection[Any]) -> None:
    """Lets the arrays be parameters on a connection."""
    for cls, dumper in _DUMPERS:
        connection.adapters.register_dumper(cls, dumper)


def _longs(values: Iterable[int | None]) -> bytes:
    return b"".join([_NULL if v is None else _PREFIXED_LONG(8, v) for v in values])


def _header(kind: type[_Array], length: int) -> bytes:
    # One dimension, a null flag that the server ignores, the element type, bounds.
    return _HEADER.pack(1, 1, _ELEMENTS[kind], length, 1)


class _RawDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: bytes) -> bytes:
        return obj


_DUMPERS: list[tuple[type[_Array], type[Dumper]]] = [
    (kind, type(f"{kind.__name__}Dumper", (_RawDumper,), {"oid": kind.oid}))
    for kind in _ELEMENTS
]
