"""The page token: opaque to callers, the last id to us."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

from clarion.runtime.errors import InvalidPageTokenError

_MARK = b"t1:"


def encode(last_id: str) -> str:
    """The token of the page after that id."""
    return urlsafe_b64encode(_MARK + last_id.encode()).decode().rstrip("=")


def decode(token: str) -> str:
    """The id after which the page begins; InvalidPageTokenError for anything else."""
    if not token:
        return ""
    try:
        raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        last_id = raw.removeprefix(_MARK).decode()
    except ValueError as error:
        raise InvalidPageTokenError.of(
            "page_token", "is not one of this list"
        ) from error
    if not raw.startswith(_MARK) or "\0" in last_id:
        raise InvalidPageTokenError.of("page_token", "is not one of this list")
    return last_id
