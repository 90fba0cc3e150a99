"""Deliveries and attempts as PostgreSQL's binary arrays of composites, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from struct import Struct

from clarion.tracking.state import Claim
from clarion.tracking.story import Attempt, AttemptKey, DeliveryKey
from clarion.tracking.words import Words

_UUID, _LONG, _SHORT, _TEXT, _TIME = 2950, 20, 21, 25, 1184
_TEXT_NEXT = _TEXT.to_bytes(4, "big")

_EMPTY = Struct(">iiI").pack
_HEADER = Struct(">iiIii")
_LENGTH = Struct(">i")
_DELIVERY = Struct(">iIi16sIiqIiqIihI")
_ATTEMPT = Struct(">iIi16sIiqIiqIihIihI")
_ATTEMPT_UNTIMED = Struct(">iIi16sIiqIiIihIihI")


def deliveries(oid: int, values: Mapping[DeliveryKey, Claim], words: Words) -> bytes:
    """``delivery[]``; ``oid`` is the composite's."""
    parts: list[bytes] = []
    for (id, channel), (weight, status, reason, time) in values.items():
        fixed = _DELIVERY.pack(
            *(6, _UUID, 16, id, _LONG, 8, weight, _TIME, 8, time),
            *(_SHORT, 2, status, _TEXT),
        )
        body = fixed + words[channel] + _TEXT_NEXT + words[reason]
        parts += (_LENGTH.pack(len(body)), body)
    return _array(oid, parts)


def attempts(oid: int, values: Mapping[AttemptKey, Attempt], words: Words) -> bytes:
    """``attempt[]``; ``oid`` is the composite's."""
    parts: list[bytes] = []
    for (id, number), made in values.items():
        outcome, time, provider, reason, message_id, code, latency = made
        end = (_SHORT, 2, number, _SHORT, 2, outcome, _TEXT)
        start = (9, _UUID, 16, id, _TIME, 8, time, _LONG)
        if latency is None:
            fixed = _ATTEMPT_UNTIMED.pack(*start, -1, *end)
        else:
            fixed = _ATTEMPT.pack(*start, 8, latency, *end)
        raw = message_id.encode()
        body = b"".join(
            (
                *(fixed, words[provider], _TEXT_NEXT, words[reason]),
                *(_TEXT_NEXT, _LENGTH.pack(len(raw)), raw, _TEXT_NEXT, words[code]),
            )
        )
        parts += (_LENGTH.pack(len(body)), body)
    return _array(oid, parts)


def deliveries_of(array: bytes) -> dict[DeliveryKey, Claim]:
    """The way back."""
    return {
        (id, channel.decode()): (_int(weight), _int(status), reason.decode(), _int(at))
        for id, weight, at, status, channel, reason in _records(array)
    }


def attempts_of(array: bytes) -> dict[AttemptKey, Attempt]:
    """The way back."""
    found: dict[AttemptKey, Attempt] = {}
    for id, at, latency, number, outcome, *texts in _records(array):
        provider, reason, message_id, code = (text.decode() for text in texts)
        made = (_int(outcome), _int(at), provider, reason, message_id, code)
        key = (id, _int(number))
        # Nothing else is ever null; a latency of no bytes is none.
        found[key] = (*made, _int(latency) if latency else None)
    return found


def _array(oid: int, parts: list[bytes]) -> bytes:
    if not parts:
        return _EMPTY(0, 0, oid)
    return _HEADER.pack(1, 0, oid, len(parts) // 2, 1) + b"".join(parts)


def _records(array: bytes) -> Iterator[list[bytes]]:
    at = _HEADER.size
    end = len(array)
    while at < end:
        count = _LENGTH.unpack_from(array, at + 4)[0]
        at += 8  # the record's length and how many fields it has
        fields: list[bytes] = []
        for _ in range(count):
            size = max(_LENGTH.unpack_from(array, at + 4)[0], 0)
            at += 8
            fields.append(array[at : at + size])
            at += size
        yield fields


def _int(value: bytes) -> int:
    return int.from_bytes(value, "big", signed=True)
