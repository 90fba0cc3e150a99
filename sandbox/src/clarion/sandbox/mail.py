"""A mail as it came over SMTP: its ids found fast, its parts decoded on demand."""

from __future__ import annotations

import re
from typing import Any

_IDS = tuple(
    re.compile(rb"(?im)^%s:[ \t]*([^\r\n]*)" % header)
    for header in (b"X-Clarion-Notification-Id", b"X-Clarion-Delivery-Id")
)


def mail_ids(raw: bytes) -> tuple[str, str]:
    """(notification_id, delivery_id) of the headers; empty where they are missing.

    Parsing every mail would cost more than taking it, so only its head is searched.
    """
    head = raw[: raw.find(b"\r\n\r\n") + 2]
    notification_id, delivery_id = (
        match[1].strip().decode("ascii", "replace") if match else ""
        for match in (pattern.search(head) for pattern in _IDS)
    )
    return notification_id, delivery_id


def read_mail(raw: bytes) -> dict[str, Any]:
    """Headers and parts of a mail, decoded."""
    # Lazy: the email package is only needed when somebody looks at a mail.
    from email import message_from_bytes
    from email.policy import default

    mail = message_from_bytes(raw, policy=default)
    parts: dict[str, Any] = {"text": None, "html": None, "attachments": []}
    for part in mail.walk():
        kind = part.get_content_type()
        if part.is_multipart():
            continue
        name = {"text/plain": "text", "text/html": "html"}.get(kind)
        if name and parts[name] is None and not part.get_filename():
            parts[name] = part.get_content()
        else:
            parts["attachments"].append({"type": kind, "name": part.get_filename()})
    headers = [[name, str(value)] for name, value in mail.items()]
    return {"headers": headers, "subject": str(mail.get("subject", "")), **parts}
