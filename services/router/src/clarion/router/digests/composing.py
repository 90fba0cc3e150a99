"""One notification out of those that a window collected. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from clarion.api.event.v1.work_pb2 import DigestFold, IntakeItem
from clarion.api.router.v1.notification_pb2 import Notification
from clarion.router.admission import seconds
from clarion.router.digests.folding import digest_id
from clarion.runtime.streams import LANES

MOST_MESSAGE_BYTES = 8000
"""Of the text that is made of the items."""
_MOST_TITLE = 256
_OWN = frozenset(
    {
        "title",
        "message",
        "data",
        "channels",
        "priority",
        "category",
        "template_id",
        "template_version",
        "idempotency_key",
        "scheduled_at",
        "expires_at",
    }
)
"""Fields that a digest has of its own. Of all others it has what its items agree on."""


def described(fold: DigestFold) -> Struct:
    """An item as it stands in the data of its digest."""
    own = fold.item.notification
    entry = Struct()
    fields = entry.fields
    fields["notification_id"].string_value = fold.item.notification_id
    fields["title"].string_value = own.title
    fields["message"].string_value = own.message
    fields["accepted_time"].string_value = fold.item.accepted_time.ToJsonString()
    fields["data"].struct_value.CopyFrom(own.data)
    return entry


def size_of(fold: DigestFold) -> int:
    """What an item adds to its digest, with the tags and lengths around it."""
    return described(fold).ByteSize() + 12


def is_expired(fold: DigestFold, now: datetime) -> bool:
    """Whether it is left out of what closes now."""
    if not fold.HasField("expires_time"):
        return False
    return seconds(fold.expires_time) <= now.timestamp()


def compose(
    window_id: str, folds: Sequence[DigestFold], closed: datetime
) -> IntakeItem:
    """The digest of at least one item, in the order given.

    One alone is sent as it is. The same window gives the same digest.
    """
    first = folds[0]
    item = IntakeItem(
        notification_id=digest_id(window_id),
        tenant_id=first.item.tenant_id,
        key_id=first.item.key_id,
    )
    item.accepted_time.FromDatetime(closed)
    item.digest.window_id = window_id
    item.digest.count = len(folds)
    own = item.notification
    own.CopyFrom(first.item.notification)
    if len(folds) == 1:
        item.trace_parent = first.item.trace_parent
    else:
        _keep_common(own, [fold.item.notification for fold in folds[1:]])
        for name in _OWN:
            own.ClearField(name)  # type: ignore[arg-type]
        own.title = f"{len(folds)} × {own.type}"[:_MOST_TITLE]
        own.message = _lines(folds)
        own.data.fields["count"].number_value = len(folds)
        items = own.data.fields["items"].list_value.values
        for fold in folds:
            items.add().struct_value.CopyFrom(described(fold))
    own.ClearField("idempotency_key")
    own.ClearField("scheduled_at")
    own.channels[:] = list(dict.fromkeys(c for fold in folds for c in fold.channels))
    own.priority = min((fold.priority for fold in folds), key=LANES.index)
    own.category = first.category
    own.ClearField("expires_at")
    if all(fold.HasField("expires_time") for fold in folds):
        latest = max((fold.expires_time for fold in folds), key=seconds)
        own.expires_at.CopyFrom(latest)
    return item


def _keep_common(own: Notification, others: Sequence[Notification]) -> None:
    for field, value in own.ListFields():
        if any(not _is_same(getattr(other, field.name), value) for other in others):
            own.ClearField(field.name)  # type: ignore[arg-type]


def _is_same(one: object, other: object) -> bool:
    if isinstance(one, Message):
        return one == other
    return bool(one == other)


def _lines(folds: Sequence[DigestFold]) -> str:
    """A line for each item that has words, as many as there is room for."""
    lines = list(_words(folds))
    left = MOST_MESSAGE_BYTES
    kept: list[str] = []
    for number, line in enumerate(lines):
        left -= len(line.encode()) + 1
        if left < 0:
            kept.append(f"… {len(lines) - number} more")
            break
        kept.append(line)
    return "\n".join(kept)


def _words(folds: Sequence[DigestFold]) -> Iterator[str]:
    for fold in folds:
        own = fold.item.notification
        words = ": ".join(part for part in (own.title, own.message) if part)
        if words:
            yield " ".join(words.split())
