"""HPACK (RFC 7541) tuned for load: the same headers come again and again.

hpack decodes Huffman text piece by piece in Python, a third of the time of a request;
an adapter repeats its authorization and topic every time, so literals are cached.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from hpack import Decoder, Encoder, HeaderTuple
from hpack.exceptions import HPACKDecodingError, OversizedHeaderListError
from hpack.huffman_table import decode_huffman

_ENTRY_OVERHEAD = 32
"""Bytes that a header counts beyond its text (RFC 7541, 4.1)."""
_MOST_CONTINUATIONS = 5

_huffman = lru_cache(maxsize=4096)(decode_huffman)


class CachingDecoder(Decoder):
    """hpack's decoder, its table and limits, with one pass and cached literals."""

    def decode(self, data: bytes, raw: bool = False) -> Iterable[HeaderTuple]:
        if not raw:
            return super().decode(data, raw)
        table = self.header_table
        headers: list[HeaderTuple] = []
        position, size = 0, 0
        try:
            while position < len(data):
                first = data[position]
                if first & 0xE0 == 0x20:
                    if headers:
                        raise HPACKDecodingError("table size update after a header")
                    position += self._update_encoding_context(data[position:])
                    continue
                mask = 0x7F if first & 0x80 else 0x3F if first & 0x40 else 0x0F
                number, position = _integer(data, position, mask)
                if first & 0x80:
                    name, value = table.get_by_index(number)
                else:
                    if number:
                        name = table.get_by_index(number)[0]
                    else:
                        name, position = _literal(data, position)
                    value, position = _literal(data, position)
                    if first & 0x40:
                        table.add(name, value)
                headers.append(HeaderTuple(name, value))
                size += len(name) + len(value) + _ENTRY_OVERHEAD
                if size > self.max_header_list_size:
                    raise OversizedHeaderListError("header list too large")
        except IndexError as exc:
            raise HPACKDecodingError("truncated header block") from exc
        self._assert_valid_table_size()
        return headers


class PlainEncoder(Encoder):
    """hpack's encoder without Huffman coding, which buys nothing on loopback."""

    def encode(self, headers: Any, huffman: bool = True) -> bytes:
        return bytes(super().encode(headers, huffman=False))


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
