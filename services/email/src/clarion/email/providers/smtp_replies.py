"""What a mail server's reply means for the delivery (RFC 5321, RFC 3463). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from clarion.runtime.delivery import Outcome


class Stage(Enum):
    """What was asked when the reply came."""

    CONNECT = "connect"
    """Greeting, EHLO, STARTTLS and AUTH."""
    SENDER = "sender"
    RECIPIENT = "recipient"
    DATA = "data"
    """Before the message left, and after."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """One row of the table."""

    reason: str
    suppress: bool = False
    """Whether the address is known to be dead."""
    retry: bool = False
    """Although the reply is a 5xx: it is our fault and can be put right."""


# By enhanced status code without its class; a subject alone stands for all its details.
_PERMANENT: Mapping[str, Meaning] = {
    "1.1": Meaning("invalid_address", suppress=True),
    "1.2": Meaning("invalid_address", suppress=True),
    "1.3": Meaning("invalid_address"),
    "1.6": Meaning("invalid_address", suppress=True),
    "1.7": Meaning("sender_rejected"),
    "1.8": Meaning("sender_rejected"),
    "1.10": Meaning("invalid_address", suppress=True),  # null MX, RFC 7505
    "1": Meaning("invalid_address"),
    "2.1": Meaning("mailbox_disabled", suppress=True),
    "2.2": Meaning("mailbox_full"),
    "2.3": Meaning("message_too_large"),
    "2": Meaning("mailbox_unavailable"),
    "3.4": Meaning("message_too_large"),
    "4": Meaning("no_route"),
    "6": Meaning("content_rejected"),
    "7.8": Meaning("authentication_failed", retry=True),
    "7.9": Meaning("authentication_failed", retry=True),
    # Policy: about us or the message, not about the address, which stays usable.
    "7": Meaning("policy_rejected"),
}
_PERMANENT_CODES: Mapping[int, Meaning] = {
    521: Meaning("invalid_address"),  # the host takes no mail, RFC 7504
    530: Meaning("authentication_failed", retry=True),
    534: Meaning("authentication_failed", retry=True),
    535: Meaning("authentication_failed", retry=True),
    538: Meaning("authentication_failed", retry=True),
    552: Meaning("message_too_large"),
    553: Meaning("invalid_address"),
    556: Meaning("invalid_address"),
}
_TRANSIENT: Mapping[str, str] = {
    "2.2": "mailbox_full",
    "3": "provider_unavailable",
    "4": "no_route",
    "7": "rate_limited",
}
_TRANSIENT_CODES: Mapping[int, str] = {
    421: "provider_unavailable",
    450: "temporarily_rejected",
    451: "temporarily_rejected",
    452: "provider_unavailable",
    454: "authentication_failed",
}

_ENHANCED = re.compile(r"\s*([245])\.(\d{1,3})\.(\d{1,3})\b")
_WAIT = re.compile(r"\b(\d{1,5})\s*(s|secs?|seconds?|m|mins?|minutes?)\b", re.I)
_QUEUED_AS = re.compile(r"\bqueued as ([\w.@-]{1,100})", re.I)


def outcome_of(stage: Stage, code: int, text: str) -> Outcome:
    """The outcome of a reply that is not the success of its stage."""
    enhanced = _enhanced(code, text)
    shown = f"{code} {enhanced}".strip()
    if 400 <= code < 500:
        return Outcome.retry(_transient(code, enhanced), shown, _wait(text))
    if not 500 <= code < 600:
        # Not a reply of the protocol: garbage, or out of step with us.
        return Outcome.retry("protocol_error", shown)
    meaning = _permanent(stage, code, enhanced)
    if meaning.retry or stage is Stage.CONNECT:
        # A server that does not let us in has said nothing about the recipient.
        return Outcome.retry(
            meaning.reason if meaning.retry else "connection_refused", shown
        )
    about_recipient = stage in (Stage.RECIPIENT, Stage.DATA)
    suppress = "bounce" if meaning.suppress and about_recipient else ""
    return Outcome.failed(meaning.reason, shown, suppress)


def queue_id(text: str) -> str:
    """The id under which the server has queued a mail, where it says so."""
    match = _QUEUED_AS.search(text)
    return match[1] if match else ""


def _permanent(stage: Stage, code: int, enhanced: str) -> Meaning:
    if stage is Stage.SENDER and code not in _PERMANENT_CODES:
        return Meaning("sender_rejected")
    detail = enhanced.partition(".")[2]
    for key in (detail, detail.partition(".")[0]):
        if key in _PERMANENT:
            return _PERMANENT[key]
    if code in _PERMANENT_CODES:
        return _PERMANENT_CODES[code]
    # A bare 550 may be about anything: not reason enough to suppress the address.
    return Meaning("rejected")


def _transient(code: int, enhanced: str) -> str:
    detail = enhanced.partition(".")[2]
    for key in (detail, detail.partition(".")[0]):
        if key in _TRANSIENT:
            return _TRANSIENT[key]
    return _TRANSIENT_CODES.get(code, "temporarily_rejected")


def _enhanced(code: int, text: str) -> str:
    match = _ENHANCED.match(text)
    if match is None or int(match[1]) != code // 100:
        return ""
    return f"{match[1]}.{match[2]}.{match[3]}"


def _wait(text: str) -> timedelta | None:
    """Greylisting servers say how long in the text."""
    match = _WAIT.search(text)
    if match is None:
        return None
    number = int(match[1])
    is_minutes = match[2].lower().startswith("m")
    return timedelta(minutes=number) if is_minutes else timedelta(seconds=number)
