"""Page tokens of the list of notifications: opaque, and bound to their list. Pure."""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass
from hashlib import blake2b

from clarion.runtime.errors import FieldViolation, InvalidPageTokenError

_LAYOUT = struct.Struct(">q16s8s")


@dataclass(frozen=True, slots=True)
class Position:
    """The last entry of a page."""

    accepted_time: int
    """Microseconds since 2000."""
    notification_id: bytes


BEGINNING = Position(1 << 52, b"\xff" * 16)
"""Before the newest entry."""


def encode(position: Position, *scope: str) -> str:
    """``scope`` is the tenant and the filters of the list."""
    packed = _LAYOUT.pack(
        position.accepted_time, position.notification_id, _digest(scope)
    )
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def decode(token: str, *scope: str) -> Position:
    """Raises InvalidPageTokenError for what ``encode`` did not make of this scope."""
    if not token:
        return BEGINNING
    try:
        packed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        time, id, digest = _LAYOUT.unpack(packed)
    except (binascii.Error, ValueError, struct.error) as error:
        raise _foreign() from error
    if digest != _digest(scope) or not 0 <= time <= BEGINNING.accepted_time:
        raise _foreign()
    return Position(time, id)


def _foreign() -> InvalidPageTokenError:
    problem = "is not one that this list gave out: begin without one"
    return InvalidPageTokenError(violations=[FieldViolation("page_token", problem)])


def _digest(scope: tuple[str, ...]) -> bytes:
    return blake2b("\x1f".join(scope).encode(), digest_size=8).digest()
