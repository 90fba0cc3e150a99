"""What a provider made of one delivery."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum


class OutcomeKind(Enum):
    """The four ends of one call of a provider."""

    SENT = "sent"
    """The provider took the message."""
    RETRY = "retry"
    """The provider did not take it and may take it later."""
    FAILED = "failed"
    """The provider will never take it."""
    UNKNOWN = "unknown"
    """The request left and no answer came: the message may have been taken."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one attempt."""

    kind: OutcomeKind
    reason: str = ""
    """Stable word, such as unregistered_token, invalid_address, rate_limited,
    provider_unavailable, timeout. Never the provider's text, which may quote the
    address. Empty with SENT."""
    provider_message_id: str = ""
    provider_code: str = ""
    """The provider's own code, such as "550 5.1.1" or "UNREGISTERED"."""
    retry_after: timedelta | None = None
    """With RETRY: the wait that the provider asked for."""
    suppress: str = ""
    """With FAILED: the suppression to write for the address: bounce, stop, complaint
    or unregistered."""
    latency: timedelta | None = None
    """From the request to the answer; measured by the worker when absent."""

    @classmethod
    def sent(
        cls, provider_message_id: str = "", latency: timedelta | None = None
    ) -> Outcome:
        """The provider took it."""
        return cls(
            OutcomeKind.SENT, provider_message_id=provider_message_id, latency=latency
        )

    @classmethod
    def retry(
        cls, reason: str, code: str = "", after: timedelta | None = None
    ) -> Outcome:
        """Not now."""
        return cls(
            OutcomeKind.RETRY, reason=reason, provider_code=code, retry_after=after
        )

    @classmethod
    def failed(cls, reason: str, code: str = "", suppress: str = "") -> Outcome:
        """Not ever."""
        return cls(
            OutcomeKind.FAILED, reason=reason, provider_code=code, suppress=suppress
        )

    @classmethod
    def unknown(cls, reason: str, code: str = "") -> Outcome:
        """No answer."""
        return cls(OutcomeKind.UNKNOWN, reason=reason, provider_code=code)
