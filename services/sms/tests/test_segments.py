from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.sms.segments import count_segments

CASES = (
    ("", "gsm7", 0, 0),
    ("a", "gsm7", 1, 1),
    ("a" * 160, "gsm7", 160, 1),
    ("a" * 161, "gsm7", 161, 2),
    ("a" * 306, "gsm7", 306, 2),
    ("a" * 307, "gsm7", 307, 3),
    ("a" * 1530, "gsm7", 1530, 10),
    ("a" * 1531, "gsm7", 1531, 11),
    ("Grüße @£", "gsm7", 8, 1),
    ("€", "gsm7", 2, 1),
    ("€" * 80, "gsm7", 160, 1),
    ("€" * 81, "gsm7", 162, 2),
    # 152 septets and a pair: the pair moves on as a whole.
    ("a" * 152 + "€" + "a" * 152, "gsm7", 306, 3),
    ("ç", "ucs2", 1, 1),
    ("`", "ucs2", 1, 1),
    ("я" * 70, "ucs2", 70, 1),
    ("я" * 71, "ucs2", 71, 2),
    ("я" * 134, "ucs2", 134, 2),
    ("я" * 135, "ucs2", 135, 3),
    ("😀" * 35, "ucs2", 70, 1),
    ("😀" * 36, "ucs2", 72, 2),
    # 66 units and a surrogate pair: the pair moves on as a whole.
    ("я" * 66 + "😀" + "я" * 66, "ucs2", 134, 3),
    ("hello 😀", "ucs2", 8, 1),
)


@pytest.mark.parametrize(("text", "encoding", "units", "count"), CASES)
def test_texts_are_counted_as_carriers_do(
    text: str, encoding: str, units: int, count: int
) -> None:
    segments = count_segments(text)
    assert (segments.encoding, segments.units) == (encoding, units)
    assert segments.count == count


@given(st.text(max_size=400), st.text(max_size=400))
def test_a_longer_text_never_costs_less(one: str, other: str) -> None:
    both, first = count_segments(one + other), count_segments(one)
    assert both.count >= max(first.count, count_segments(other).count)
    # In another encoding a unit is something else: "[" is two septets and one of UCS-2.
    assert both.encoding != first.encoding or both.units >= first.units


@given(st.text(min_size=1, max_size=2000))
def test_every_unit_fits_into_the_segments(text: str) -> None:
    segments = count_segments(text)
    single, part = (160, 153) if segments.encoding == "gsm7" else (70, 67)
    room = single if segments.count == 1 else segments.count * part
    assert segments.units <= room
    # Each part but the last is full, but for half a character.
    assert segments.count == 1 or segments.units > (segments.count - 1) * (part - 1)


@given(st.text(alphabet=st.characters(min_codepoint=0x400), min_size=1, max_size=300))
def test_ucs2_units_are_those_of_utf_16(text: str) -> None:
    segments = count_segments(text)
    if segments.encoding == "ucs2":
        encoded = text.encode("utf-16-le", "surrogatepass")
        assert segments.units == len(encoded) // 2
