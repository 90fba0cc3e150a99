"""What Twilio's webhook forms say: status callbacks and texts from people. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_DELIVERED,
    EVENT_KIND_OPENED,
    EVENT_KIND_UNDELIVERED,
    EventKind,
)
from clarion.runtime.errors import InvalidArgumentError

# "read" comes from RCS; statuses that are not here lead up to one of these.
_KINDS: Mapping[str, EventKind.ValueType] = {
    "delivered": EVENT_KIND_DELIVERED,
    "read": EVENT_KIND_OPENED,
    "undelivered": EVENT_KIND_UNDELIVERED,
    "failed": EVENT_KIND_UNDELIVERED,
}
STATUSES = frozenset(
    (*_KINDS, "accepted", "scheduled", "queued", "sending", "sent", "canceled")
)
"""Those that Twilio documents; anything else is counted as "other"."""

_REASONS: Mapping[str, str] = {
    "30001": "rate_limited",
    "30002": "provider_misconfigured",
    "30003": "unreachable",
    "30004": "blocked",
    "30005": "unknown_subscriber",
    "30006": "invalid_address",
    "30007": "filtered",
    "30008": "unknown_error",
    "21610": "opted_out",
}
_SUPPRESSED: Mapping[str, str] = {"21610": "stop"}

_STOP_WORDS = frozenset(
    ("STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT")
)
_START_WORDS = frozenset(("START", "YES", "UNSTOP"))


@dataclass(frozen=True, slots=True)
class StatusCallback:
    """The provider tells what became of a message of ours."""

    message_sid: str
    status: str
    error_code: str
    to: str

    @property
    def kind(self) -> EventKind.ValueType | None:
        """The event to tell; None for a state on the way."""
        return _KINDS.get(self.status)

    @property
    def reason(self) -> str:
        """A stable word for why it was not delivered; empty where it was."""
        if self.kind != EVENT_KIND_UNDELIVERED:
            return ""
        return _REASONS.get(self.error_code, "undelivered")

    @property
    def suppress(self) -> str:
        """The suppression to write for the number, if any."""
        if self.kind != EVENT_KIND_UNDELIVERED:
            return ""
        return _SUPPRESSED.get(self.error_code, "")


class Keyword(Enum):
    """What a person asks for."""

    STOP = "stop"
    START = "start"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Inbound:
    """A person wrote to one of our numbers."""

    message_sid: str
    account_sid: str
    sender: str
    to: str
    keyword: Keyword


def read_form(form: Mapping[str, str]) -> StatusCallback | Inbound:
    """Takes a form apart; InvalidArgumentError when it is neither of the two."""
    sid = form.get("MessageSid") or form.get("SmsSid") or ""
    if not sid:
        raise _missing("MessageSid")
    status = form.get("MessageStatus", "").lower()
    if status:
        return StatusCallback(
            sid, status, form.get("ErrorCode", ""), form.get("To", "")
        )
    if "Body" not in form:
        raise _missing("MessageStatus or Body")
    sender = form.get("From", "")
    if not sender:
        raise _missing("From")
    return Inbound(
        sid,
        form.get("AccountSid", ""),
        sender,
        form.get("To", ""),
        _keyword(form.get("OptOutType", ""), form["Body"]),
    )


def _keyword(opt_out_type: str, body: str) -> Keyword:
    # Advanced Opt-Out has words of its own and tells what it took them for.
    word = (opt_out_type or body).strip().upper()
    if word in _STOP_WORDS:
        return Keyword.STOP
    return Keyword.START if word in _START_WORDS else Keyword.OTHER


def _missing(name: str) -> InvalidArgumentError:
    return InvalidArgumentError.of("raw.data", f"the form lacks {name}")
