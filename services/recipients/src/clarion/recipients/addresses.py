"""Addresses in the form in which they are compared, and their digests."""

from __future__ import annotations

from hashlib import sha256

from clarion.recipients import phone_number

INBOX = "in_app"
EMAIL = "email"
SMS = "sms"


def normalised(channel: str, address: str) -> str:
    """The one spelling of an address: emails lower-cased, phone numbers as E.164.

    What cannot be read as a phone number (a short code) is kept as it is.
    """
    if channel == EMAIL:
        return address.strip().lower()
    if channel == SMS:
        try:
            return phone_number.normalised(address)
        except ValueError:
            return address.strip()
    return address


def digest(address: str) -> bytes:
    """What an address is found by; of the normalised form."""
    return sha256(address.encode()).digest()


def email_digest(email: str) -> bytes | None:
    """Of an email in any spelling; None where there is none."""
    return digest(normalised(EMAIL, email)) if email else None


def phone_digest(number: str) -> bytes | None:
    """Of a number in E.164; None where there is none."""
    return digest(number) if number else None
