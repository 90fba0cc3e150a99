"""FCM: messages and the error table."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.push.providers.fcm import FcmDialect, message
from clarion.runtime.delivery import Outcome, OutcomeKind
from clarion.runtime.http.transport import Answer

NOW = 1_800_000_000.0
FAILED, RETRY, UNKNOWN = OutcomeKind.FAILED, OutcomeKind.RETRY, OutcomeKind.UNKNOWN
FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"

MakeJob = Callable[..., DeliveryJob]


def sent(job: DeliveryJob) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(message(job, NOW))["message"]
    return found


def an_answer(status: int, body: Any = b"", **fields: Any) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    wait = fields.pop("retry_after", None)
    return Answer(status, raw, (), wait, timedelta(0), **fields)


def an_error(
    status: int, code: str, text: str = "", field: str = "", rpc: str = ""
) -> Answer:
    details: list[dict[str, Any]] = [{"@type": FCM_ERROR, "errorCode": code}]
    if field:
        violation = {"field": field, "description": text}
        kind = "type.googleapis.com/google.rpc.BadRequest"
        details.insert(0, {"@type": kind, "fieldViolations": [violation]})
    error = {"code": status, "message": text, "status": rpc, "details": details}
    return an_answer(status, {"error": error})


BAD_TOKEN = "The registration token is not a valid FCM registration token"
ANSWERS = [
    (an_error(404, "UNREGISTERED"), FAILED, "unregistered_token", "unregistered"),
    (
        an_error(400, "INVALID_ARGUMENT", BAD_TOKEN),
        *(FAILED, "invalid_token", "unregistered"),
    ),
    (
        an_error(400, "INVALID_ARGUMENT", "Bad", "message.token"),
        *(FAILED, "invalid_token", "unregistered"),
    ),
    (
        an_error(400, "INVALID_ARGUMENT", BAD_TOKEN, "message.data[from]"),
        *(FAILED, "invalid_payload", ""),
    ),
    (an_error(400, "INVALID_ARGUMENT", "Bad"), FAILED, "invalid_payload", ""),
    (an_error(403, "SENDER_ID_MISMATCH"), FAILED, "sender_id_mismatch", ""),
    (an_error(401, "THIRD_PARTY_AUTH_ERROR"), RETRY, "provider_misconfigured", ""),
    (an_error(429, "QUOTA_EXCEEDED"), RETRY, "rate_limited", ""),
    (an_error(503, "UNAVAILABLE"), RETRY, "provider_unavailable", ""),
    (an_error(500, "INTERNAL"), RETRY, "provider_unavailable", ""),
    (an_answer(502, b"<html>"), RETRY, "provider_unavailable", ""),
    (an_answer(503), RETRY, "provider_unavailable", ""),
    (an_answer(404, b"Not Found"), RETRY, "provider_misconfigured", ""),
    (an_answer(403, {"error": 1}), RETRY, "provider_misconfigured", ""),
    (an_answer(413), FAILED, "payload_too_large", ""),
    (an_answer(400, [1]), FAILED, "invalid_payload", ""),
    (an_answer(200, b"<html>hotel wifi"), UNKNOWN, "unexpected_answer", ""),
]


@pytest.mark.parametrize(("answer", "kind", "reason", "suppress"), ANSWERS)
def test_every_answer_has_its_outcome(
    answer: Answer, kind: OutcomeKind, reason: str, suppress: str
) -> None:
    outcome = FcmDialect("p").outcome(answer)
    assert outcome is not None
    assert (outcome.kind, outcome.reason, outcome.suppress) == (kind, reason, suppress)


def test_the_name_of_a_message_is_its_id() -> None:
    outcome = FcmDialect("p").outcome(
        an_answer(200, b'{\n  "name": "projects/p/messages/0:17%a"\n}\n')
    )
    assert outcome is not None
    assert outcome.kind is OutcomeKind.SENT
    assert outcome.provider_message_id == "projects/p/messages/0:17%a"


def test_a_success_whose_body_broke_off_is_sent() -> None:
    outcome = FcmDialect("p").outcome(an_answer(200, b"{", error="recv_error"))
    assert outcome is not None
    assert outcome.kind is OutcomeKind.SENT


def test_a_refused_credential_is_no_outcome() -> None:
    dialect = FcmDialect("p")
    assert dialect.outcome(an_answer(401)) is None
    assert dialect.outcome(an_answer(401, {"error": {"status": "X"}})) is None


def test_a_quota_waits_as_long_as_it_says_and_a_minute_otherwise() -> None:
    dialect = FcmDialect("p")
    said = dialect.outcome(an_answer(429, retry_after=timedelta(seconds=7)))
    unsaid = dialect.outcome(an_answer(429))
    assert said is not None
    assert said.retry_after == timedelta(seconds=7)
    assert unsaid is not None
    assert unsaid.retry_after == timedelta(seconds=60)


def test_a_message_carries_texts_and_our_ids(make_job: MakeJob) -> None:
    job = make_job("t", data={"count": 20, "price": 99.99, "name": "Zoë"})
    found = sent(job)
    assert found["token"] == "t"
    assert found["notification"] == {"title": "Hello", "body": 'It is "here"\nnow'}
    assert found["data"] == {
        "count": "20",
        "price": "99.99",
        "name": "Zoë",
        "clarion_notification_id": job.notification_id,
        "clarion_delivery_id": job.delivery_id,
    }


def test_data_cannot_replace_our_ids(make_job: MakeJob) -> None:
    job = make_job(data={"clarion_delivery_id": "forged", "clarion_x": "kept"})
    assert sent(job)["data"]["clarion_delivery_id"] == job.delivery_id
    assert sent(job)["data"]["clarion_x"] == "kept"


def test_a_message_without_texts_shows_nothing(make_job: MakeJob) -> None:
    assert "notification" not in sent(make_job(title="", body=""))
    assert sent(make_job(title=""))["notification"].keys() == {"body"}
    assert sent(make_job(body=""))["notification"].keys() == {"title"}


def test_android_gets_urgency_life_and_collapse_key(make_job: MakeJob) -> None:
    job = make_job(priority="high", collapse_key="order-7")
    job.expires_time.seconds = int(NOW) + 90
    assert sent(job)["android"] == {
        "priority": "HIGH",
        "ttl": "90s",
        "collapse_key": "order-7",
        "notification": {"tag": "order-7"},
    }
    assert sent(make_job(priority="low"))["android"] == {"priority": "NORMAL"}


def test_life_is_within_what_fcm_takes(make_job: MakeJob) -> None:
    job = make_job()
    job.expires_time.seconds = int(NOW) - 5
    assert sent(job)["android"]["ttl"] == "0s"
    job.expires_time.seconds = int(NOW) + 10**8
    assert sent(job)["android"]["ttl"] == "2419200s"


def test_the_platform_decides_the_options(make_job: MakeJob) -> None:
    job = make_job(platform="ios", collapse_key="a\r\nb")
    job.expires_time.seconds = int(NOW) + 90
    apns = sent(job)["apns"]
    assert apns["headers"]["apns-priority"] == "10"
    assert apns["headers"]["apns-expiration"] == str(int(NOW) + 90)
    assert len(apns["headers"]["apns-collapse-id"]) == 64
    assert apns["payload"] == {"aps": {"sound": "default"}}
    assert sent(make_job(platform="web"))["webpush"] == {"headers": {"Urgency": "high"}}
    assert {"android", "apns"} <= sent(make_job(platform="")).keys()


def test_what_fcm_counts_is_limited(make_job: MakeJob) -> None:
    def posted(text: str) -> object:
        job = make_job(body=text)
        job.target.address = "t" * 1000
        return FcmDialect("p").posting(job, "authorization: x", NOW)

    assert posted("x" * 5000) == Outcome.failed("payload_too_large")
    # The JSON around it and the token are not counted.
    assert isinstance(posted("x" * 3900), tuple)


def test_headers_are_one_list_until_the_credential_changes(make_job: MakeJob) -> None:
    dialect = FcmDialect("p")
    first, second, third = (
        dialect.posting(make_job(), authorization, NOW)
        for authorization in ("authorization: a", "authorization: a", "other: b")
    )
    assert isinstance(first, tuple)
    assert isinstance(second, tuple)
    assert isinstance(third, tuple)
    assert first[1] is second[1]
    assert third[1] is not first[1]
    assert first[0] == "/v1/projects/p/messages:send"
