"""Chunks: several encoded items as the one repeated field of their chunk message.

IntakeChunk, DeliveryChunk and EventChunk all hold their items in field 1, so items that
are encoded already are joined without being decoded and encoded again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b

from clarion.runtime import wire_text

_ITEM_TAG = b"\x0a"  # field 1, length-delimited
_TAGS = tuple(bytes((number << 3 | 2,)) for number in range(16))
_MOST_SIZES = 65_536


class _Sizes(dict[int, bytes]):
    """Lengths as they are encoded: looked up, they cost a third."""

    def __missing__(self, size: int) -> bytes:
        encoded = wire_text.SIZES[size].encode("latin-1")
        if len(self) < _MOST_SIZES:
            self[size] = encoded
        return encoded


SIZES = _Sizes()


def join(items: Iterable[bytes]) -> bytes:
    """The encoded chunk message of encoded items."""
    parts: list[bytes] = []
    for item in items:
        parts += (_ITEM_TAG, SIZES[len(item)], item)
    return b"".join(parts)


def tag(number: int) -> bytes:
    """What a message, string or bytes field (number below 16) begins with, before the
    length."""
    return _TAGS[number]


def field(number: int, encoded: bytes) -> bytes:
    """An encoded message, string or bytes as a field (number below 16) of a message."""
    return _TAGS[number] + SIZES[len(encoded)] + encoded


def split(
    items: Sequence[tuple[str, bytes]], *, max_items: int, max_bytes: int
) -> Iterator[Sequence[tuple[str, bytes]]]:
    """Cuts (id, encoded) items into runs within both limits; one item always fits."""
    start = size = 0
    for index, (_, encoded) in enumerate(items):
        is_full = index - start >= max_items or size + len(encoded) > max_bytes
        if index > start and is_full:
            yield items[start:index]
            start, size = index, 0
        size += len(encoded)
    if start < len(items):
        yield items[start:]


def identity(kind: str, ids: Iterable[str]) -> str:
    """A message id from what a chunk holds: the same items give the same id."""
    digest = blake2b(kind.encode(), digest_size=16)
    for item in ids:
        digest.update(item.encode())
    return digest.hexdigest()
