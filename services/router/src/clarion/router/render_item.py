"""What a plan's channels are rendered with, put together of encoded fields. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from google.protobuf.struct_pb2 import Struct, Value

from clarion.api.recipients.v1.recipient_pb2 import Recipient
from clarion.api.templating.v1.template_service_pb2 import RenderItem
from clarion.router.plan import Plan
from clarion.runtime.chunks import field

_KEY = RenderItem.KEY_FIELD_NUMBER
_TITLE = RenderItem.TITLE_FIELD_NUMBER
_MESSAGE = RenderItem.MESSAGE_FIELD_NUMBER
_DATA = RenderItem.DATA_FIELD_NUMBER
_RECIPIENT = RenderItem.RECIPIENT_FIELD_NUMBER
_PUBLISHED_TIME = RenderItem.PUBLISHED_TIME_FIELD_NUMBER
_FIELDS = Struct.FIELDS_FIELD_NUMBER
_STRING_VALUE = Value.STRING_VALUE_FIELD_NUMBER
# An entry of a map is a message of a key and a value.
_MAP_KEY, _MAP_VALUE = 1, 2
_USER_ID = field(_MAP_KEY, b"user_id")
_DISPLAY_NAME = field(_MAP_KEY, b"display_name")


def render_item(plan: Plan, template_id: str, channels: Sequence[str]) -> bytes:
    """The encoded RenderItem; as messages they cost twice as much."""
    notification = plan.notification
    recipient = plan.profile.recipient
    item = (
        _kind(
            template_id,
            notification.template_version,
            tuple(channels),
            notification.locale or recipient.locale,
            plan.type,
        )
        + field(_KEY, plan.notification_id.encode())
        + field(_RECIPIENT, _person(plan.user_id, recipient))
    )
    if notification.title:
        item += field(_TITLE, notification.title.encode())
    if notification.message:
        item += field(_MESSAGE, notification.message.encode())
    if plan.data is not None:
        item += field(_DATA, plan.data)
    if plan.item.release or notification.HasField("scheduled_at"):
        # It waited: what it says is what was meant when it was accepted.
        accepted = plan.item.accepted_time
        item += field(_PUBLISHED_TIME, accepted.SerializeToString())
    return item


@lru_cache(maxsize=4096)
def _kind(
    template_id: str,
    template_version: int,
    channels: tuple[str, ...],
    locale: str,
    type: str,
) -> bytes:
    """What the items of many notifications say."""
    return RenderItem(
        template_id=template_id,
        template_version=template_version,
        channels=channels,
        locale=locale,
        type=type,
    ).SerializeToString()


def _person(user_id: str, recipient: Recipient) -> bytes:
    """The Struct with the person's attributes; of entries with one key the last is it.

    What the mesh knows stands behind what the person calls itself.
    """
    known = _text(_USER_ID, user_id) + _text(_DISPLAY_NAME, recipient.display_name)
    if not recipient.HasField("attributes"):
        return known
    return recipient.attributes.SerializeToString() + known


def _text(key: bytes, text: str) -> bytes:
    value = field(_STRING_VALUE, text.encode())
    return field(_FIELDS, key + field(_MAP_VALUE, value))
