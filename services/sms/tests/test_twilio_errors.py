from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from clarion.runtime.delivery import OutcomeKind
from clarion.sandbox.catalog import TWILIO
from clarion.sms.providers.twilio_errors import outcome_of, wait_of

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
FAILED, RETRY, UNKNOWN = OutcomeKind.FAILED, OutcomeKind.RETRY, OutcomeKind.UNKNOWN

ANSWERS = (
    (400, 21211, FAILED, "invalid_address"),
    (400, 21614, FAILED, "invalid_address"),
    (400, 21610, FAILED, "opted_out"),
    (400, 21408, FAILED, "region_not_permitted"),
    (400, 21612, FAILED, "unreachable"),
    (400, 21617, FAILED, "message_too_long"),
    (400, 21606, RETRY, "provider_misconfigured"),
    (401, 20003, RETRY, "provider_misconfigured"),
    (403, 20005, RETRY, "provider_misconfigured"),
    (404, 20404, RETRY, "provider_misconfigured"),
    (429, 20429, RETRY, "rate_limited"),
    (429, 21611, RETRY, "rate_limited"),
    (500, 20500, RETRY, "provider_unavailable"),
    (503, 20503, RETRY, "provider_unavailable"),
    (400, 99999, FAILED, "rejected"),
    (429, 99999, RETRY, "rate_limited"),
    (599, 99999, RETRY, "provider_unavailable"),
)
WITHOUT_CODE = (
    (302, RETRY, "provider_misconfigured"),
    (400, FAILED, "rejected"),
    (401, RETRY, "provider_misconfigured"),
    (429, RETRY, "rate_limited"),
    (500, RETRY, "provider_unavailable"),
    (502, UNKNOWN, "provider_unavailable"),
    (503, RETRY, "provider_unavailable"),
    (504, UNKNOWN, "provider_unavailable"),
)
WAITS = (
    ("7", timedelta(seconds=7)),
    (" 0 ", timedelta(0)),
    ("9" * 40, timedelta(days=1)),
    ("Sun, 22 Nov 2026 12:01:30 GMT", timedelta(seconds=90)),
    ("Sun, 22 Nov 2026 11:00:00 GMT", timedelta(0)),
    ("Sun, 22 Nov 2026 12:01:30 -0000", None),
    ("soon", None),
    ("-3", None),
    ("", None),
    (None, None),
)


@pytest.mark.parametrize(("status", "code", "kind", "reason"), ANSWERS)
def test_an_error_code_becomes_an_outcome(
    status: int, code: int, kind: OutcomeKind, reason: str
) -> None:
    body = json.dumps({"code": code, "message": "no", "status": status}).encode()
    outcome = outcome_of(status, body, None, NOW)
    assert (outcome.kind, outcome.reason) == (kind, reason)
    assert outcome.provider_code == str(code)


@pytest.mark.parametrize(("status", "kind", "reason"), WITHOUT_CODE)
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"code": "x"}'])
def test_an_answer_without_a_code_is_judged_by_its_status(
    status: int, kind: OutcomeKind, reason: str, body: bytes
) -> None:
    outcome = outcome_of(status, body, None, NOW)
    assert (outcome.kind, outcome.reason) == (kind, reason)
    assert outcome.provider_code == str(status)


def test_only_an_opt_out_writes_a_suppression() -> None:
    suppressed = {
        code: outcome.suppress
        for code, (status, _) in TWILIO.items()
        if (outcome := outcome_of(status, b'{"code": %s}' % code.encode(), None, NOW))
        and outcome.suppress
    }
    assert suppressed == {"21610": "stop"}


@pytest.mark.parametrize("code", sorted(set(TWILIO) - {"20004"}))
def test_no_known_code_is_left_to_its_status(code: str) -> None:
    status = TWILIO[code][0]
    outcome = outcome_of(status, b'{"code": %s}' % code.encode(), None, NOW)
    assert outcome.reason != "rejected"


def test_a_misconfiguration_waits_for_a_person() -> None:
    outcome = outcome_of(401, b'{"code": 20003}', None, NOW)
    assert outcome.retry_after == timedelta(minutes=5)


@pytest.mark.parametrize(("header", "wait"), WAITS)
def test_retry_after_is_read(header: str | None, wait: timedelta | None) -> None:
    assert wait_of(header, NOW) == wait


def test_the_sid_is_found_in_the_answer() -> None:
    sid = "SM" + "0a" * 16
    body = json.dumps({"account_sid": "AC" + "1" * 32, "body": "x", "sid": sid})
    outcome = outcome_of(201, body.encode(), None, NOW)
    assert outcome.kind is OutcomeKind.SENT
    assert outcome.provider_message_id == sid


def test_a_taken_message_is_sent_even_when_its_answer_is_not_understood() -> None:
    assert outcome_of(201, b"?", None, NOW).kind is OutcomeKind.SENT
