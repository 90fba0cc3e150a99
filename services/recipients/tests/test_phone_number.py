from __future__ import annotations

import pytest

from clarion.recipients.phone_number import normalised

GOOD = [
    ("+14155550123", "+14155550123"),
    ("+1 (415) 555-0123", "+14155550123"),
    ("+49 30 901820", "+4930901820"),
    ("+44 (0)20 7946 0958", "+442079460958"),
    ("＋１４１５５５５０１２３", "+14155550123"),
    ("tel:+14155550123", "+14155550123"),
]
BAD = [
    ("2155550199", "country code"),
    ("", "not a phone number"),
    ("hello", "not a phone number"),
    ("+1415555", "number of digits"),
    ("+141555501234567", "number of digits"),
    ("+999123456789", "country code"),
    ("+14155550123 ext. 7", "extension"),
]


@pytest.mark.parametrize(("text", "stored"), GOOD)
def test_a_number_with_country_code_becomes_e164(text: str, stored: str) -> None:
    assert normalised(text) == stored


@pytest.mark.parametrize(("text", "remedy"), BAD)
def test_a_number_that_cannot_exist_is_refused_with_the_remedy(
    text: str, remedy: str
) -> None:
    with pytest.raises(ValueError, match=remedy) as refusal:
        normalised(text)
    assert not text or text not in str(refusal.value)
