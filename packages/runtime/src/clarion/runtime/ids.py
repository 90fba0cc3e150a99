"""Ids: time-ordered where nothing names the thing, derived where something does.

Derived ids (UUIDv5) are what folds a retry into the first attempt: the same parts
always give the same id, in every process and release. Never change the namespace.
"""

from __future__ import annotations

import os
from datetime import datetime
from functools import lru_cache
from hashlib import sha1

_NAMESPACE = bytes.fromhex("6f9619ff8b86d011b42d00cf4fc964ff")
# A part may hold any character but this one, so ("a", "bc") differs from ("ab", "c").
_SEPARATOR = "\x1f"
_VARIANTS = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
"""A digit of a digest with its upper two bits set to 10."""


def uuid7(now: datetime) -> str:
    """A new UUIDv7 (RFC 9562) for that instant: sorts by time, 74 random bits."""
    h = _random_digits(20)
    return f"{_since_1970(now)}-7{h[:3]}-{_VARIANTS[h[3]]}{h[4:7]}-{h[7:19]}"


@lru_cache(maxsize=16)
def _since_1970(now: datetime) -> str:
    """What the ids of one instant begin with: milliseconds."""
    t = f"{int(now.timestamp() * 1000):012x}"
    return f"{t[:8]}-{t[8:]}"


_POOL_BYTES = 4096
_pool = ""
_used = 0


def _random_digits(count: int) -> str:
    """From the system, in large pieces: asking for every id costs more than the id."""
    global _pool, _used
    start = _used
    _used += count
    if _used > len(_pool):
        _pool, start, _used = os.urandom(_POOL_BYTES).hex(), 0, count
    return _pool[start:_used]


def _forget_pool() -> None:
    global _pool
    _pool = ""


# The child of a fork must not hand out the same bytes as its parent.
os.register_at_fork(after_in_child=_forget_pool)


def derived(kind: str, *parts: str) -> str:
    """The UUIDv5 of the parts; equal parts give equal ids, per kind."""
    name = _SEPARATOR.join((kind, *parts)).encode()
    h = sha1(_NAMESPACE + name, usedforsecurity=False).hexdigest()
    variant = _VARIANTS[h[16]]
    return f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{variant}{h[17:20]}-{h[20:32]}"


def notification_id_for_key(tenant: str, key: str) -> str:
    """The id of the notification that a tenant sends under an idempotency key."""
    return derived("notification", tenant, key)


def delivery_id(notification_id: str, channel: str, target: str) -> str:
    """The id of one delivery: a notification to one target on one channel."""
    return derived("delivery", notification_id, channel, target)


def event_id(subject_id: str, event: str, *parts: str) -> str:
    """The id of an event about something; parts tell repeats of the event apart."""
    return derived("event", subject_id, event, *parts)
