"""What a provider's error code means for a delivery: the rows of the error tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from clarion.push.providers.posting import MISCONFIGURED, UNAVAILABLE
from clarion.runtime.delivery import Outcome, OutcomeKind
from clarion.runtime.http.transport import Answer

UNREGISTERED = "unregistered"
"""The suppression of a token that is gone for good."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Kind, stable word and suppression of one code."""

    kind: OutcomeKind
    reason: str
    suppress: str = ""

    def outcome(
        self, answer: Answer, code: str, wait: timedelta | None = None
    ) -> Outcome:
        """As an outcome; ``wait`` is used where the answer does not ask for one."""
        again = self.kind is OutcomeKind.RETRY
        return Outcome(
            self.kind,
            self.reason,
            provider_code=code,
            retry_after=(answer.retry_after or wait) if again else None,
            suppress=self.suppress,
            latency=answer.latency,
        )


GONE = Verdict(OutcomeKind.FAILED, "unregistered_token", UNREGISTERED)
BAD_TOKEN = Verdict(OutcomeKind.FAILED, "invalid_token", UNREGISTERED)
BAD_PAYLOAD = Verdict(OutcomeKind.FAILED, "invalid_payload")
TOO_LARGE = Verdict(OutcomeKind.FAILED, "payload_too_large")
LIMITED = Verdict(OutcomeKind.RETRY, "rate_limited")
DOWN = Verdict(OutcomeKind.RETRY, UNAVAILABLE)
OUR_SETTINGS = Verdict(OutcomeKind.RETRY, MISCONFIGURED)


def by_status(status: int) -> Verdict:
    """For an answer without a code that is known: proxies and front ends give those."""
    if status == 429:
        return LIMITED
    if status >= 500 or status == 408:
        return DOWN
    if status == 413:
        return TOO_LARGE
    if status == 400:
        return BAD_PAYLOAD
    # Wrong URL, project or permission. Never a verdict on the token, as dropping
    # everybody's tokens for a wrong setting could not be undone.
    return OUR_SETTINGS
