"""Names and addresses that callers give: whether they can mean anything. Pure.

What is misspelt here would be stored and never looked at: somebody who wants no SMS
would go on getting them.
"""

from __future__ import annotations

from clarion.api.recipients.v1.recipient_pb2 import Suppression
from clarion.recipients import phone_number
from clarion.recipients.addresses import EMAIL, SMS
from clarion.runtime.errors import FieldViolation
from clarion.runtime.streams import CHANNELS

_SHORT_CODE = 6
"""Digits of the longest short code, which has no country."""


def channel(name: str, field: str) -> list[FieldViolation]:
    """What is wrong with the name of a channel."""
    if name in CHANNELS:
        return []
    text = f"is not a channel of this mesh: use {', '.join(CHANNELS)}"
    return [FieldViolation(field, text, "channel.unknown")]


def suppressed(entry: Suppression, field: str) -> list[FieldViolation]:
    """What is wrong with the channel and the address of a suppression."""
    if wrong := channel(entry.channel, f"{field}.channel"):
        return wrong
    text = ""
    if entry.channel == EMAIL and "@" not in entry.address:
        text = "is not an email address: give one such as ann@example.com"
    elif entry.channel == SMS and sum(map(str.isdigit, entry.address)) > _SHORT_CODE:
        try:
            phone_number.normalised(entry.address)
        except ValueError as wrong_number:
            text = str(wrong_number)
    return [FieldViolation(f"{field}.address", text, "address.form")] if text else []
