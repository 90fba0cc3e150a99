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
    add = parts.append
    for (
        id,
        event_id,
        at,
        delivery,
        kind,
        tenant,
        channel,
        type_,
        reason,
        detail,
    ) in rows:
        day = at // DAY_MICROS
        add(_EVENT(11, 16, id, 16, event_id, 4, day, 8, at, 16, delivery, 2, kind))
        add(words[tenant])
        add(words[channel])
        add(words[type_])
        add(words[reason])
        if detail is None:
            add(_NULL)
        else:
            add(_LENGTH(len(detail)))
            add(detail)
    add(_END)
    return b"".join(parts)


def notifications(stories: Mapping[bytes, Story], types: Types) -> bytes:
    """For ``copy_notifications``."""
    words = Words()
    parts: list[bytes] = [_START]
    add = parts.append
    for id, story in stories.items():
        add(_NOTIFICATION(13, 16, id, 8, story.accepted_time))
        due = story.due_time
        add(_NULL if due is None else _PREFIXED_LONG(8, due))
        add(_MASKS(4, story.facts, 4, story.outcomes()))
        add(words[story.tenant_id])
        user = story.user_id.encode()
        add(_LENGTH(len(user)))
        add(user)
        add(words[story.type])
        add(_NULL if story.category is None else words[story.category])
        add(words[story.priority])
        add(_LENGTH(len(story.event_ids)))
        add(story.event_ids)
        for array in (
            composites.deliveries(types.delivery, story.deliveries, words),
            composites.attempts(types.attempt, story.attempts, words),
        ):
            add(_LENGTH(len(array)))
            add(array)
    add(_END)
    return b"".join(parts)
