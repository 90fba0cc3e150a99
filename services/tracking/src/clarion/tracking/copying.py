"""Rows of a batch as a binary COPY stream: bytes all the way, no object a value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from struct import Struct

from clarion.tracking import composites
from clarion.tracking.batch import EventRow
from clarion.tracking.story import Story
from clarion.tracking.words import Words

DAY_MICROS = 86_400_000_000

_START = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = b"\xff\xff"
_LENGTH = Struct(">i").pack
_NULL = _LENGTH(-1)
_UUID_PREFIX = _LENGTH(16)
_PREFIXED_LONG = Struct(">iq").pack
_EVENT = Struct(">hi16si16siiiqi16sih").pack
_NOTIFICATION = Struct(">hi16siq").pack
_MASKS = Struct(">iiii").pack


@dataclass(frozen=True, slots=True)
class Types:
    """The OIDs of the composite types, which differ from database to database."""

    delivery: int
    attempt: int


def events(rows: Iterable[EventRow]) -> bytes:
    """For ``copy_events``."""
    words = Words()
    parts: list[bytes] = [_START]
    for row in rows:
        id, event_id, at, delivery_id, kind, tenant, channel, type_, reason, detail = (
            row
        )
        day = at // DAY_MICROS
        parts += (
            _EVENT(11, 16, id, 16, event_id, 4, day, 8, at, 16, delivery_id, 2, kind),
            words[tenant],
            words[channel],
            words[type_],
            words[reason],
            _NULL if detail is None else _LENGTH(len(detail)),
            detail or b"",
        )
    parts.append(_END)
    return b"".join(parts)


def notifications(stories: Mapping[bytes, Story], types: Types) -> bytes:
    """For ``copy_notifications``."""
    words = Words()
    parts: list[bytes] = [_START]
    for id, story in stories.items():
        due, category, ids = story.due_time, story.category, story.event_ids
        user, broadcast = story.user_id.encode(), story.broadcast_id
        parts += (
            _NOTIFICATION(14, 16, id, 8, story.accepted_time),
            _NULL if due is None else _PREFIXED_LONG(8, due),
            _MASKS(4, story.facts, 4, story.outcomes()),
            words[story.tenant_id],
            _LENGTH(len(user)),
            user,
            words[story.type],
            _NULL if category is None else words[category],
            words[story.priority],
            _LENGTH(len(ids)),
            ids,
            composites.deliveries(types.delivery, story.deliveries, words),
            composites.attempts(types.attempt, story.attempts, words),
            _NULL if broadcast is None else _UUID_PREFIX + broadcast,
        )
    parts.append(_END)
    return b"".join(parts)
