"""Profiles as bytes, put together from columns. Pure.

A person is one formatted text whose characters are the bytes of the encoded message,
as in ``clarion.runtime.wire_text``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from clarion.runtime.chunks import field
from clarion.runtime.wire_text import SIZES, latin

UNKNOWN = b"\x0a\x00"
"""A response with the profile of somebody who is not known."""

_MILLION = 1_000_000
_EPOCH = 946_684_800 * _MILLION
"""Postgres counts microseconds from the year 2000."""


class Times(dict[bytes, str]):
    """Encoded timestamps with their size, by the eight bytes that Postgres sends.

    Those of a batch often are the same, as they were written together.
    """

    def __missing__(self, sent: bytes) -> str:
        micros = int.from_bytes(sent, "big", signed=True) + _EPOCH
        seconds, rest = divmod(micros, _MILLION)
        time = Timestamp(seconds=seconds, nanos=rest * 1000).SerializeToString()
        self[sent] = encoded = f"{SIZES[len(time)]}{time.decode('latin-1')}"
        return encoded

    def message(self, sent: bytes) -> bytes:
        """The encoded timestamp by itself; its size is one character."""
        return self[sent][1:].encode("latin-1")


def device(row: Sequence[Any], times: Times) -> str:
    """A Device of its columns, as the field of a Recipient."""
    _, device_id, platform, token, app_id, last_seen, registered = row
    if not f"{device_id}{platform}{token}{app_id}".isascii():
        device_id, platform = latin(device_id), latin(platform)
        token, app_id = latin(token), latin(app_id)
    encoded = (
        f"\x0a{SIZES[len(device_id)]}{device_id}\x12{SIZES[len(platform)]}{platform}"
        f"\x1a{SIZES[len(token)]}{token}\x22{SIZES[len(app_id)]}{app_id}"
        f"\x2a{times[last_seen]}\x32{times[registered]}"
    )
    return f"\x42{SIZES[len(encoded)]}{encoded}"


def preferences(
    user_id: str, body: bytes, version: int, updated: bytes, times: Times
) -> bytes:
    """Preferences of their columns, as the field of a RecipientProfile."""
    who = field(1, user_id.encode())
    whole = (
        f"{body.decode('latin-1')}{who.decode('latin-1')}"
        f"\x50{SIZES[version]}\x5a{times[updated]}"
    )
    return f"\x1a{SIZES[len(whole)]}{whole}".encode("latin-1")


def response(
    row: Sequence[Any], devices: Iterable[str], more: bytes, times: Times
) -> bytes:
    """A response with one profile: of a person's columns and ``device``s.

    ``more`` is an encoded RecipientProfile with the rest of it.
    """
    user_id, email, phone, name, locale, zone, attributes, updated = row
    if not f"{user_id}{email}{phone}{name}{locale}{zone}".isascii():
        user_id, email, phone = latin(user_id), latin(email), latin(phone)
        name, locale, zone = latin(name), latin(locale), latin(zone)
    recipient = (
        f"\x0a{SIZES[len(user_id)]}{user_id}\x12{SIZES[len(email)]}{email}"
        f"\x1a{SIZES[len(phone)]}{phone}\x22{SIZES[len(name)]}{name}"
        f"\x2a{SIZES[len(locale)]}{locale}\x32{SIZES[len(zone)]}{zone}"
        f"{''.join(devices)}\x4a{times[updated]}"
    )
    if attributes:
        recipient += field(7, attributes).decode("latin-1")
    profile = f"\x08\x01\x12{SIZES[len(recipient)]}{recipient}"
    if more:
        profile += more.decode("latin-1")
    return f"\x0a{SIZES[len(profile)]}{profile}".encode("latin-1")
