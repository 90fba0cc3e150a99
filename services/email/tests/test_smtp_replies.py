from __future__ import annotations

from datetime import timedelta

import pytest

from clarion.email.providers.smtp_replies import Stage, outcome_of, queue_id
from clarion.runtime.delivery import Outcome

RCPT, DATA, FROM, CONNECT = Stage.RECIPIENT, Stage.DATA, Stage.SENDER, Stage.CONNECT


def bounce(reason: str, code: str) -> Outcome:
    return Outcome.failed(reason, code, suppress="bounce")


REPLIES = (
    (RCPT, 550, "5.1.1 User unknown", bounce("invalid_address", "550 5.1.1")),
    (DATA, 550, "5.1.1 User unknown", bounce("invalid_address", "550 5.1.1")),
    (RCPT, 550, "5.1.2 Bad host", bounce("invalid_address", "550 5.1.2")),
    (RCPT, 556, "5.1.10 Null MX", bounce("invalid_address", "556 5.1.10")),
    (RCPT, 550, "5.2.1 Disabled", bounce("mailbox_disabled", "550 5.2.1")),
    (RCPT, 501, "5.1.3 Syntax", Outcome.failed("invalid_address", "501 5.1.3")),
    (RCPT, 552, "5.2.2 Full", Outcome.failed("mailbox_full", "552 5.2.2")),
    (DATA, 550, "5.7.1 Policy", Outcome.failed("policy_rejected", "550 5.7.1")),
    (DATA, 554, "5.7.26 DMARC", Outcome.failed("policy_rejected", "554 5.7.26")),
    (DATA, 552, "5.3.4 Too big", Outcome.failed("message_too_large", "552 5.3.4")),
    (DATA, 554, "5.6.0 Bad MIME", Outcome.failed("content_rejected", "554 5.6.0")),
    (RCPT, 550, "No such user here", Outcome.failed("rejected", "550")),
    (RCPT, 553, "Mailbox name", Outcome.failed("invalid_address", "553")),
    (FROM, 550, "5.1.1 Who are you", Outcome.failed("sender_rejected", "550 5.1.1")),
    (FROM, 550, "5.1.8 Bad sender", Outcome.failed("sender_rejected", "550 5.1.8")),
    (FROM, 530, "5.7.0 Login", Outcome.failed("policy_rejected", "530 5.7.0")),
    (FROM, 530, "Login", Outcome.retry("authentication_failed", "530")),
    (CONNECT, 535, "5.7.8 No", Outcome.retry("authentication_failed", "535 5.7.8")),
    (CONNECT, 554, "5.7.1 Go away", Outcome.retry("connection_refused", "554 5.7.1")),
    (CONNECT, 421, "4.3.2 Busy", Outcome.retry("provider_unavailable", "421 4.3.2")),
    (RCPT, 450, "4.2.0 Later", Outcome.retry("temporarily_rejected", "450 4.2.0")),
    (DATA, 451, "Local error", Outcome.retry("temporarily_rejected", "451")),
    (DATA, 452, "4.3.1 Disk", Outcome.retry("provider_unavailable", "452 4.3.1")),
    (RCPT, 452, "4.2.2 Full", Outcome.retry("mailbox_full", "452 4.2.2")),
    (RCPT, 451, "4.7.1 Slow down", Outcome.retry("rate_limited", "451 4.7.1")),
    (RCPT, 550, "4.1.1 Odd", Outcome.failed("rejected", "550")),
    (DATA, -1, "garbage", Outcome.retry("protocol_error", "-1")),
    (DATA, 220, "out of step", Outcome.retry("protocol_error", "220")),
)


@pytest.mark.parametrize(("stage", "code", "text", "outcome"), REPLIES)
def test_a_reply_means(stage: Stage, code: int, text: str, outcome: Outcome) -> None:
    assert outcome_of(stage, code, text) == outcome


WAITS = (
    ("4.2.0 Greylisted, please try again in 300 seconds", timedelta(seconds=300)),
    ("4.7.1 try again in 5 minutes", timedelta(minutes=5)),
    ("4.7.1 retry in 30s", timedelta(seconds=30)),
    ("4.7.1 later", None),
)


@pytest.mark.parametrize(("text", "wait"), WAITS)
def test_a_greylisting_server_says_when(text: str, wait: timedelta | None) -> None:
    assert outcome_of(RCPT, 450, text).retry_after == wait


def test_the_queue_id_is_read_where_there_is_one() -> None:
    assert queue_id("2.0.0 OK queued as 4XyZ-1") == "4XyZ-1"
    assert queue_id("2.0.0 OK") == ""
