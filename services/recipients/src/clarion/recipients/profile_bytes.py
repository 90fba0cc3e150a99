"""Profiles as bytes, put together from columns. Pure.

Making messages of hundreds of people and encoding them costs twice of what all else
about them does. Here a person is one formatted text whose characters are the bytes of
the encoded message: lengths and times in between are characters below 256 as well.
Texts that are empty are encoded too; to whoever reads them it makes no difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from clarion.runtime.chunks import field

UNKNOWN = b"\x0a\x00"
"""A response with the profile of somebody who is not known."""

_MILLION = 1_000_000
_EPOCH = 946_684_800 * _MILLION
"""Postgres counts microseconds from the year 2000."""
_MOST_SIZES = 65_536


class Times(dict[bytes, str]):
    """Encoded timestamps with their size, by the eight bytes that Postgres sends.

    Those of a batch often are the same, as they were written together.
    """

    def __missing__(self, sent: bytes) -> str:
        micros = int.from_bytes(sent, "big", signed=True) + _EPOCH
        seconds, rest = divmod(micros, _MILLION)
        time = Timestamp(seconds=seconds, nanos=rest * 1000).SerializeToString()
        self[sent] = encoded = f"{_SIZES[len(time)]}{time.decode('latin-1')}"
        return encoded

    def message(self, sent: bytes) -> bytes:
        """The encoded timestamp by itself; its size is one character."""
        return self[sent][1:].encode("latin-1")


class _Sizes(dict[int, str]):
    """Lengths as they stand before texts and messages, and numbers as fields."""

    def __missing__(self, size: int) -> str:
        rest, encoded = size, ""
        while rest >= 0x80:
            encoded += chr(rest & 0x7F | 0x80)
            rest >>= 7
        encoded += chr(rest)
        if len(self) < _MOST_SIZES:
            self[size] = encoded
        return encoded


_SIZES = _Sizes()


def device(row: Sequence[Any], times: Times) -> str:
    """A Device of its columns, as the field of a Recipient."""
    _, device_id, platform, token, app_id, last_seen, registered = row
    if not f"{device_id}{platform}{token}{app_id}".isascii():
        device_id, platform = _latin(device_id), _latin(platform)
        token, app_id = _latin(token), _latin(app_id)
    encoded = (
        f"\x0a{_SIZES[len(device_id)]}{device_id}\x12{_SIZES[len(platform)]}{platform}"
        f"\x1a{_SIZES[len(token)]}{token}\x22{_SIZES[len(app_id)]}{app_id}"
        f"\x2a{times[last_seen]}\x32{times[registered]}"
    )
    return f"\x42{_SIZES[len(encoded)]}{encoded}"


def preferences(
    user_id: str, body: bytes, version: int, updated: bytes, times: Times
) -> bytes:
    """Preferences of their columns, as the field of a RecipientProfile."""
    who = field(1, user_id.encode())
    whole = (
        f"{body.decode('latin-1')}{who.decode('latin-1')}"
        f"\x50{_SIZES[version]}\x5a{times[updated]}"
    )
    return f"\x1a{_SIZES[len(whole)]}{whole}".encode("latin-1")


def response(
    row: Sequence[Any], devices: Iterable[str], more: bytes, times: Times
) -> bytes:
    """A response with one profile: of a person's columns and ``device``s.

    ``more`` is an encoded RecipientProfile with the rest of it.
    """
    user_id, email, phone, name, locale, zone, attributes, updated = row
    if not f"{user_id}{email}{phone}{name}{locale}{zone}".isascii():
        user_id, email, phone = _latin(user_id), _latin(email), _latin(phone)
        name, locale, zone = _latin(name), _latin(locale), _latin(zone)
    recipient = (
        f"\x0a{_SIZES[len(user_id)]}{user_id}\x12{_SIZES[len(email)]}{email}"
        f"\x1a{_SIZES[len(phone)]}{phone}\x22{_SIZES[len(name)]}{name}"
        f"\x2a{_SIZES[len(locale)]}{locale}\x32{_SIZES[len(zone)]}{zone}"
        f"{''.join(devices)}\x4a{times[updated]}"
    )
    if attributes:
        recipient += field(7, attributes).decode("latin-1")
    profile = f"\x08\x01\x12{_SIZES[len(recipient)]}{recipient}"
    if more:
        profile += more.decode("latin-1")
    return f"\x0a{_SIZES[len(profile)]}{profile}".encode("latin-1")


def _latin(text: str) -> str:
    return text.encode().decode("latin-1")
