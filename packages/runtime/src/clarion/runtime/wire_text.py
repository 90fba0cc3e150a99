"""Encoded messages put together as texts whose characters are their bytes. Pure.

Making hundreds of messages and encoding them costs twice of what one formatted text a
message does: its fields are texts already, and lengths in between are characters below
256 as well. ``encode("latin-1")`` at the end makes it bytes. Texts that are empty may
be encoded too; to whoever reads them it makes no difference.
"""

from __future__ import annotations

_MOST_SIZES = 65_536


class _Sizes(dict[int, str]):
    """Numbers from 0 as they are encoded, such as the lengths before texts."""

    def __missing__(self, size: int) -> str:
        rest, encoded = size, ""
        while rest >= 0x80:
            encoded += chr(rest & 0x7F | 0x80)
            rest >>= 7
        encoded += chr(rest)
        if len(self) < _MOST_SIZES:
            self[size] = encoded
        return encoded


SIZES = _Sizes()


def latin(text: str) -> str:
    """The characters that are the bytes of a text; an ASCII text is its own."""
    return text.encode().decode("latin-1")
