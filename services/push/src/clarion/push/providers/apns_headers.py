"""Values of APNs headers; FCM passes the same ones on to Apple."""

from __future__ import annotations

import hashlib
import re

# No line breaks: they would start a header of the sender's choice.
_SAFE_KEY = re.compile(r"[\x21-\x7e]{1,64}")


def priority(lane: str, is_shown: bool) -> int:
    """10 is at once, 5 when the device's battery allows, as for what is not shown."""
    return 5 if lane == "low" or not is_shown else 10


def collapse_id(key: str) -> str:
    """The collapse key, or its digest where APNs does not take it (64 bytes, ASCII)."""
    if _SAFE_KEY.fullmatch(key):
        return key
    return hashlib.sha256(key.encode()).hexdigest()
