"""Making what a digest says fit its channel: phones take less than a mailbox. Pure."""

from __future__ import annotations

from clarion.api.event.v1.work_pb2 import Content

_MOST_BODY = {"push": 1000, "sms": 600}
"""Characters: of the 4,096 bytes of a push, and five to nine segments of an SMS."""
_MOST_PUSH_DATA = 1500
_MORE = "…"


def fit(channel: str, content: Content) -> None:
    """Shortens the text of a digest and leaves its items out of a push.

    The app reads them in the inbox; ``count`` stays.
    """
    most = _MOST_BODY.get(channel)
    if most is None:
        return
    if len(content.body) > most:
        content.body = content.body[: most - 1].rstrip() + _MORE
    if channel != "push" or content.data.ByteSize() <= _MOST_PUSH_DATA:
        return
    content.data.fields.pop("items", None)
