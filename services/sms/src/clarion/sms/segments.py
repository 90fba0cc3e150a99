"""How a text is cut into short messages: GSM-7 or UCS-2, 3GPP TS 23.038. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED = frozenset("\f^{}\\[~]|€")
"""Each takes two septets: an escape and itself."""

# (in one message, in each part of several: the header that joins them takes 6 bytes)
_GSM_SIZES = (160, 153)
_UCS2_SIZES = (70, 67)


@dataclass(frozen=True, slots=True)
class Segments:
    """What a text costs."""

    encoding: Literal["gsm7", "ucs2"]
    units: int
    """Septets of GSM-7, or 16-bit units of UCS-2."""
    count: int
    """Messages that are sent and billed; 0 for an empty text."""


def count_segments(text: str) -> Segments:
    """Counts as carriers do: a two-unit character is never cut in two."""
    if _BASIC.issuperset(text):
        # Nearly every text: no character is wider than one unit.
        return Segments("gsm7", len(text), _cut_evenly(len(text), _GSM_SIZES))
    widths = _gsm_widths(text)
    if widths is not None:
        return Segments("gsm7", sum(widths), _cut(widths, _GSM_SIZES))
    widths = [2 if ord(character) > 0xFFFF else 1 for character in text]
    return Segments("ucs2", sum(widths), _cut(widths, _UCS2_SIZES))


def _gsm_widths(text: str) -> list[int] | None:
    widths = []
    for character in text:
        if character in _BASIC:
            widths.append(1)
        elif character in _EXTENDED:
            widths.append(2)
        else:
            return None
    return widths


def _cut_evenly(units: int, sizes: tuple[int, int]) -> int:
    single, part = sizes
    if units <= single:
        return 1 if units else 0
    return -(-units // part)


def _cut(widths: list[int], sizes: tuple[int, int]) -> int:
    single, part = sizes
    if sum(widths) <= single:
        return 1 if widths else 0
    count, used = 1, 0
    for width in widths:
        if used + width > part:
            count += 1
            used = 0
        used += width
    return count
