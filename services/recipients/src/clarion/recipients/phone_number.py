"""Phone numbers, parsed by libphonenumber and written as E.164."""

from __future__ import annotations

import phonenumbers

_REMEDIES = {
    phonenumbers.NumberParseException.INVALID_COUNTRY_CODE: (
        "must begin with + and a country code, such as +14155550123"
    ),
    phonenumbers.NumberParseException.NOT_A_NUMBER: (
        "is not a phone number: give one such as +14155550123"
    ),
}
_REMEDY = "is not a phone number that can exist: check the number of digits"


def normalised(text: str) -> str:
    """The number as E.164. ValueError says what to change, without the number.

    Only the country code and the length are judged: which ranges are in use changes
    faster than a release, and the provider knows better.
    """
    try:
        number = phonenumbers.parse(text)
    except phonenumbers.NumberParseException as wrong:
        raise ValueError(_REMEDIES.get(wrong.error_type, _REMEDY)) from None
    if not phonenumbers.is_possible_number(number):
        raise ValueError(_REMEDY)
    if number.extension:
        raise ValueError("has an extension: give the number without it")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
