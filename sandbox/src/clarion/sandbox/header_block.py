"""HPACK (RFC 7541) tuned for load: the same headers come again and again.

hpack decodes Huffman text half a byte at a time in Python, a third of the time of a
request; an adapter repeats its authorization and topic every time, so literals are
cached. What is sent is encoded without a table: it saves nothing on loopback.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, lru_cache

from hpack import Decoder
from hpack.exceptions import HPACKDecodingError, OversizedHeaderListError
from hpack.huffman_table import (
    HUFFMAN_COMPLETE,
    HUFFMAN_EMIT_SYMBOL,
    HUFFMAN_FAIL,
    HUFFMAN_TABLE,
)

NO_TABLE = b"\x20"
"""Says at the start of a block that its encoder keeps no table."""

_ENTRY_OVERHEAD = 32
"""Bytes that a header counts beyond its text (RFC 7541, 4.1)."""
_MOST_CONTINUATIONS = 5


class CachingDecoder(Decoder):
    """hpack's table and limits, with one pass and cached literals."""

    def fields(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Names and values of a block; raises hpack's errors."""
        table = self.header_table
        found: list[tuple[bytes, bytes]] = []
        position, size, end = 0, 0, len(data)
        try:
            while position < end:
                first = data[position]
                if first & 0xE0 == 0x20:
                    if found:
                        raise HPACKDecodingError("table size update after a header")
                    position += self._update_encoding_context(data[position:])
                    continue
                mask = 0x7F if first & 0x80 else 0x3F if first & 0x40 else 0x0F
                number, position = _integer(data, position, mask)
                if first & 0x80:
                    name, value = field = table.get_by_index(number)
                else:
                    if number:
                        name = table.get_by_index(number)[0]
                    else:
                        name, position = _literal(data, position)
                    value, position = _literal(data, position)
                    field = name, value
                    if first & 0x40:
                        table.add(name, value)
                found.append(field)
                size += len(name) + len(value) + _ENTRY_OVERHEAD
                if size > self.max_header_list_size:
                    raise OversizedHeaderListError("header list too large")
        except IndexError as exc:
            raise HPACKDecodingError("truncated header block") from exc
        self._assert_valid_table_size()
        return found


def encoded(headers: Iterable[tuple[str, str]]) -> bytes:
    """A header block that needs nothing of the blocks before it."""
    return b"".join([_encoded(name, value) for name, value in headers])


@lru_cache(maxsize=4096)
def _encoded(name: str, value: str) -> bytes:
    """A literal without indexing and without Huffman coding."""
    parts = b"\x00"
    for text in (name.encode("latin-1"), value.encode()):
        parts += _length(len(text)) + text
    return parts


def _length(number: int) -> bytes:
    if number < 0x7F:
        return bytes((number,))
    number -= 0x7F
    digits = bytearray(b"\x7f")
    while number >= 0x80:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def _integer(data: bytes, position: int, mask: int) -> tuple[int, int]:
    number = data[position] & mask
    position += 1
    if number < mask:
        return number, position
    for shift in range(0, 7 * _MOST_CONTINUATIONS, 7):
        byte = data[position]
        position += 1
        number += (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    raise HPACKDecodingError("integer too long")


def _literal(data: bytes, position: int) -> tuple[bytes, int]:
    coded = data[position] & 0x80
    length, position = _integer(data, position, 0x7F)
    end = position + length
    if end > len(data):
        raise HPACKDecodingError("truncated header block")
    text = data[position:end]
    return (_huffman(text) if coded else text), end


@lru_cache(maxsize=4096)
def _huffman(text: bytes) -> bytes:
    state, is_complete = 0, True
    parts = []
    for byte in text:
        part, state, is_complete = _step(state, byte)
        parts.append(part)
    if not is_complete:
        raise HPACKDecodingError("incomplete Huffman string")
    return b"".join(parts)


@cache
def _step(state: int, byte: int) -> tuple[bytes, int, bool]:
    """What a byte emits in a state, the next state, and whether a text may end there.

    There are 65,536 of them, of which few are ever met.
    """
    emitted = bytearray()
    flags = 0
    for half in (byte >> 4, byte & 0x0F):
        state, flags, symbol = HUFFMAN_TABLE[state * 16 + half]
        if flags & HUFFMAN_FAIL:
            raise HPACKDecodingError("invalid Huffman string")
        if flags & HUFFMAN_EMIT_SYMBOL:
            emitted.append(symbol)
    return bytes(emitted), state, bool(flags & HUFFMAN_COMPLETE)
