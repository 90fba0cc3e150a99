"""What Twilio's answers mean: the error table of the Messages API. Pure.

Source: Twilio, "Error and Warning Dictionary" and "Messages resource".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from clarion.runtime.delivery import Outcome

MISCONFIGURED = "provider_misconfigured"
"""The account, its credentials or the sender: no message of anybody gets through."""

_MISCONFIGURED_WAIT = timedelta(minutes=5)
"""A person has to repair it, so quick tries would only use up the attempts."""

_FAILED: Mapping[int, str] = {
    21211: "invalid_address",
    21217: "invalid_address",
    21265: "invalid_address",  # a short code cannot receive
    21266: "invalid_address",  # it is our own number
    21604: "invalid_address",
    21614: "invalid_address",  # not a mobile number
    21635: "invalid_address",  # a landline
    21408: "region_not_permitted",
    21602: "empty_message",
    21608: "recipient_not_verified",  # trial accounts
    21610: "opted_out",
    21612: "unreachable",
    21617: "message_too_long",
    30004: "blocked",
    30006: "invalid_address",
    30007: "filtered",
}
_RETRIED: Mapping[int, str] = {
    14107: "rate_limited",
    20429: "rate_limited",
    21611: "rate_limited",  # the sender's queue is full
    30001: "rate_limited",
    63038: "rate_limited",  # the account's limit of the day
    20500: "provider_unavailable",
    20503: "provider_unavailable",
}
_MISCONFIGURATIONS = frozenset(
    (20003, 20005, 20404, 21212, 21603, 21606, 21609, 21660, 21703, 30002)
)
_STOP = 21610

# The gateway lost the server behind it, which may have taken the message.
_LOST = (HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT)

_SID = re.compile(rb'"sid"\s*:\s*"((?:SM|MM)[0-9a-zA-Z]{8,64})"')


def outcome_of(
    status: int, body: bytes, retry_after: str | None, now: datetime
) -> Outcome:
    """The outcome of a request that was answered."""
    if status < 300:
        # A search, not json.loads: it is the one thing that is read of 700 bytes.
        found = _SID.search(body)
        return Outcome.sent(found[1].decode() if found else "")
    code = _code(body)
    return refusal(status, code, wait_of(retry_after, now))


def refusal(status: int, code: int, wait: timedelta | None) -> Outcome:
    """What a refusal means; code 0 where the answer had none."""
    word = str(code or status)
    if code in _FAILED:
        suppress = "stop" if code == _STOP else ""
        return Outcome.failed(_FAILED[code], word, suppress)
    if code in _RETRIED:
        return Outcome.retry(_RETRIED[code], word, wait)
    if code in _MISCONFIGURATIONS or status in (401, 403, 404, 405) or status < 400:
        return Outcome.retry(MISCONFIGURED, word, wait or _MISCONFIGURED_WAIT)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Outcome.retry("rate_limited", word, wait)
    if status in _LOST and not code:
        return Outcome.unknown("provider_unavailable", word)
    if status >= 500 or status == HTTPStatus.REQUEST_TIMEOUT:
        return Outcome.retry("provider_unavailable", word, wait)
    return Outcome.failed("rejected", word)


def wait_of(retry_after: str | None, now: datetime) -> timedelta | None:
    """A Retry-After header: seconds or a date; None for anything else."""
    if not retry_after:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        # More digits than any wait has would overflow a timedelta.
        return timedelta(seconds=min(int(text[:9]), 86_400))
    try:
        return max(parsedate_to_datetime(text) - now, timedelta(0))
    except (ValueError, TypeError):
        return None


def _code(body: bytes) -> int:
    try:
        document = json.loads(body)
    except ValueError:
        return 0
    code = document.get("code") if isinstance(document, dict) else None
    return code if isinstance(code, int) else 0
