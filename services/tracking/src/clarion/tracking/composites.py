"""Deliveries and attempts as PostgreSQL's binary arrays of composites, and back.

A field of a composite is its type's OID, its length and its value. Between the values
that differ stand always the same bytes, so a record is one ``pack`` and its texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct

from clarion.tracking.state import Claim
from clarion.tracking.story import Attempt, AttemptKey, DeliveryKey
from clarion.tracking.words import Words

_field = Struct(">Ii").pack
_length = Struct(">i").pack
_UUID, _LONG, _SHORT = _field(2950, 16), _field(20, 8), _field(21, 2)
_TIME, _NO_LONG = _field(1184, 8), _field(20, -1)
_TEXT = _length(25)
_SIX, _NINE = _length(6), _length(9)

_empty = Struct(">iiiI").pack
_header = Struct(">iiiIii").pack
_HEADER_SIZE = 20
"""Without the length in front, which is not sent with a selected value."""

# The fixed part of a delivery: id, weight, time, status; texts: channel, reason.
_delivery = Struct(">4s8s16s8sq8sq8sh4s").pack
_READ_DELIVERY = Struct(">12x4x16s8xq8xq8xh4x")
# Of an attempt: delivery, time, latency, number, outcome; texts: provider, reason,
# the provider's message id and code.
_attempt = Struct(">4s8s16s8sq8sq8sh8sh4s").pack
_attempt_untimed = Struct(">4s8s16s8sq8s8sh8sh4s").pack
_READ_ATTEMPT = Struct(">12x4x16s8xq4xi")
_READ_NUMBERS = Struct(">8xh8xh4x")
_READ_LONG = Struct(">q").unpack_from
_READ_LENGTH = Struct(">i").unpack_from


def deliveries(oid: int, values: Mapping[DeliveryKey, Claim], words: Words) -> bytes:
    """``delivery[]`` behind its length; ``oid`` is the composite's."""
    if not values:
        return _empty(12, 0, 0, oid)
    parts = [b""]
    for (id, channel), (weight, status, reason, time) in values.items():
        fixed = _delivery(
            *(_SIX, _UUID, id, _LONG, weight, _TIME, time, _SHORT, status, _TEXT)
        )
        body = fixed + words[channel] + _TEXT + words[reason]
        parts += (_length(len(body)), body)
    return _array(oid, parts)


def attempts(oid: int, values: Mapping[AttemptKey, Attempt], words: Words) -> bytes:
    """``attempt[]`` behind its length; ``oid`` is the composite's."""
    if not values:
        return _empty(12, 0, 0, oid)
    parts = [b""]
    for (id, number), made in values.items():
        outcome, time, provider, reason, message_id, code, latency = made
        start, end = (_NINE, _UUID, id, _TIME, time), (_SHORT, number, _SHORT, outcome)
        if latency is None:
            fixed = _attempt_untimed(*start, _NO_LONG, *end, _TEXT)
        else:
            fixed = _attempt(*start, _LONG, latency, *end, _TEXT)
        raw = message_id.encode()
        texts = words[provider] + _TEXT + words[reason] + _TEXT + _length(len(raw))
        body = fixed + texts + raw + _TEXT + words[code]
        parts += (_length(len(body)), body)
    return _array(oid, parts)


def deliveries_of(array: bytes) -> dict[DeliveryKey, Claim]:
    """The way back, from what the server sends."""
    found: dict[DeliveryKey, Claim] = {}
    at, end = _HEADER_SIZE, len(array)
    while at < end:
        id, weight, time, status = _READ_DELIVERY.unpack_from(array, at)
        (channel, reason), at = _texts(array, at + _READ_DELIVERY.size, 2)
        found[id, channel] = (weight, status, reason, time)
    return found


def attempts_of(array: bytes) -> dict[AttemptKey, Attempt]:
    """The way back, from what the server sends."""
    found: dict[AttemptKey, Attempt] = {}
    at, end = _HEADER_SIZE, len(array)
    while at < end:
        id, time, size = _READ_ATTEMPT.unpack_from(array, at)
        at += _READ_ATTEMPT.size
        latency = None
        if size > 0:
            (latency,) = _READ_LONG(array, at)
            at += size
        number, outcome = _READ_NUMBERS.unpack_from(array, at)
        texts, at = _texts(array, at + _READ_NUMBERS.size, 4)
        provider, reason, message_id, code = texts
        made = (outcome, time, provider, reason, message_id, code, latency)
        found[id, number] = made
    return found


def _array(oid: int, parts: list[bytes]) -> bytes:
    body = b"".join(parts)
    return _header(_HEADER_SIZE + len(body), 1, 0, oid, len(parts) // 2, 1) + body


def _texts(array: bytes, at: int, count: int) -> tuple[list[str], int]:
    """Texts from the length of the first on, and where the next record begins."""
    found: list[str] = []
    for _ in range(count):
        (size,) = _READ_LENGTH(array, at)
        at += 4
        found.append(array[at : at + size].decode())
        at += size + 4
    return found, at - 4
