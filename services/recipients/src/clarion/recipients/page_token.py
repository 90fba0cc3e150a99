"""Opaque page tokens: where a list goes on."""

from __future__ import annotations

import base64
import binascii
import json

from clarion.runtime.errors import FieldViolation, InvalidPageTokenError


def encode(*position: str) -> str:
    """The token of the last entry of a page."""
    text = json.dumps(position, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode()


def decode(token: str, parts: int) -> list[str] | None:
    """The position; None for the beginning. InvalidPageTokenError for anything else."""
    if not token:
        return None
    try:
        position = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        position = None
    if (
        isinstance(position, list)
        and len(position) == parts
        and all(isinstance(part, str) and "\0" not in part for part in position)
    ):
        return position
    raise invalid()


def invalid() -> InvalidPageTokenError:
    """The error for a token that this list did not give out."""
    return InvalidPageTokenError(
        violations=[
            FieldViolation(
                "page_token",
                "is not a token of this list: send next_page_token of the page before",
            )
        ]
    )
