"""APNs: notifications, the table of reasons, the provider token."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.push.providers.apns import REASONS, ApnsDialect, payload
from clarion.push.providers.apns_credential import ProviderTokens
from clarion.runtime.config import Secret
from clarion.runtime.delivery import Outcome, OutcomeKind
from clarion.runtime.errors import ConfigError
from clarion.runtime.http.transport import Answer
from clarion.runtime.testing import FakeClock
from clarion.sandbox import catalog

MakeJob = Callable[..., DeliveryJob]
FAILED, RETRY = OutcomeKind.FAILED, OutcomeKind.RETRY


def posted(job: DeliveryJob) -> tuple[str, dict[str, str], dict[str, Any]]:
    posting = ApnsDialect("com.example").posting(job, "authorization: bearer x", 0.0)
    assert isinstance(posting, tuple)
    path, lines, body = posting
    headers = dict(line.split(": ", 1) for line in lines if ": " in line)
    return path, headers, json.loads(body)


def an_answer(status: int, reason: str | None = None, **fields: Any) -> Answer:
    body = b"" if reason is None else json.dumps({"reason": reason}).encode()
    wait = fields.pop("retry_after", None)
    return Answer(status, body, (), wait, timedelta(0), **fields)


ANSWERS = [
    (an_answer(410, "Unregistered"), FAILED, "unregistered_token", "unregistered"),
    (an_answer(410, "ExpiredToken"), FAILED, "unregistered_token", "unregistered"),
    (an_answer(410), FAILED, "unregistered_token", "unregistered"),
    (an_answer(400, "BadDeviceToken"), FAILED, "invalid_token", "unregistered"),
    (an_answer(400, "DeviceTokenNotForTopic"), FAILED, "invalid_token", "unregistered"),
    (an_answer(413, "PayloadTooLarge"), FAILED, "payload_too_large", ""),
    (an_answer(400, "BadPriority"), FAILED, "invalid_payload", ""),
    (an_answer(403, "InvalidProviderToken"), RETRY, "provider_misconfigured", ""),
    (an_answer(400, "TopicDisallowed"), RETRY, "provider_misconfigured", ""),
    (an_answer(429, "TooManyRequests"), RETRY, "rate_limited", ""),
    (an_answer(500, "InternalServerError"), RETRY, "provider_unavailable", ""),
    (an_answer(503, "Shutdown"), RETRY, "provider_unavailable", ""),
    (an_answer(503), RETRY, "provider_unavailable", ""),
    (an_answer(503, "NewReason"), RETRY, "provider_unavailable", ""),
    (an_answer(403), RETRY, "provider_misconfigured", ""),
]


@pytest.mark.parametrize(("answer", "kind", "reason", "suppress"), ANSWERS)
def test_every_answer_has_its_outcome(
    answer: Answer, kind: OutcomeKind, reason: str, suppress: str
) -> None:
    outcome = ApnsDialect("t").outcome(answer)
    assert outcome is not None
    assert (outcome.kind, outcome.reason, outcome.suppress) == (kind, reason, suppress)


def test_every_documented_reason_is_in_the_table() -> None:
    assert catalog.APNS.keys() - REASONS.keys() == {"ExpiredProviderToken"}


def test_an_expired_provider_token_is_no_outcome() -> None:
    assert ApnsDialect("t").outcome(an_answer(403, "ExpiredProviderToken")) is None


def test_a_wait_is_kept_for_retries_only() -> None:
    wait = timedelta(seconds=9)
    later = ApnsDialect("t").outcome(
        an_answer(429, "TooManyRequests", retry_after=wait)
    )
    never = ApnsDialect("t").outcome(an_answer(410, "Unregistered", retry_after=wait))
    assert later is not None
    assert later.retry_after == wait
    assert never is not None
    assert never.retry_after is None


def test_a_notification_carries_alert_data_and_our_ids(make_job: MakeJob) -> None:
    job = make_job("ab12", category="orders", data={"count": 20, "price": 99.99})
    path, headers, body = posted(job)
    assert path == "/3/device/ab12"
    assert body == {
        "aps": {
            "alert": {"title": "Hello", "body": 'It is "here"\nnow'},
            "sound": "default",
            "thread-id": "orders",
        },
        "clarion_notification_id": job.notification_id,
        "clarion_delivery_id": job.delivery_id,
        "data": {"count": 20, "price": 99.99},
    }
    assert b'"count":20' in payload(job)
    assert b'"count":20.0' not in payload(job)
    assert headers["apns-id"] == job.delivery_id
    assert headers["apns-topic"] == "com.example"
    assert headers["apns-push-type"] == "alert"
    assert "apns-expiration" not in headers


def test_expiry_and_collapse_key_are_headers(make_job: MakeJob) -> None:
    job = make_job(collapse_key="order-7")
    job.expires_time.seconds = 1_800_000_000
    headers = posted(job)[1]
    assert headers["apns-expiration"] == "1800000000"
    assert headers["apns-collapse-id"] == "order-7"


@pytest.mark.parametrize("key", ["a\r\napns-topic: other", "x" * 65, "schlüssel", " "])
def test_a_collapse_key_that_apns_refuses_is_digested(
    make_job: MakeJob, key: str
) -> None:
    headers = posted(make_job(collapse_key=key))[1]
    assert len(headers["apns-collapse-id"]) == 64
    assert headers["apns-topic"] == "com.example"


def test_an_id_that_is_no_uuid_is_left_to_apns(make_job: MakeJob) -> None:
    job = make_job()
    job.delivery_id = "d-1\r\nx: y"
    assert "apns-id" not in posted(job)[1]


def test_a_token_stays_within_its_part_of_the_path(make_job: MakeJob) -> None:
    assert posted(make_job("../x?y=/z"))[0] == "/3/device/..%2Fx%3Fy%3D%2Fz"


@pytest.mark.parametrize(
    ("lane", "priority"), [("high", "10"), ("medium", "10"), ("low", "5")]
)
def test_the_lane_decides_the_priority(
    make_job: MakeJob, lane: str, priority: str
) -> None:
    assert posted(make_job(priority=lane))[1]["apns-priority"] == priority


def test_what_is_not_shown_is_a_background_push(make_job: MakeJob) -> None:
    _, headers, body = posted(make_job(title="", body="", priority="high"))
    assert headers["apns-push-type"] == "background"
    assert headers["apns-priority"] == "5"
    assert body["aps"] == {"content-available": 1}


def test_a_payload_is_limited(make_job: MakeJob) -> None:
    job = make_job(body="x" * 4096)
    posting = ApnsDialect("t").posting(job, "authorization: bearer x", 0.0)
    assert posting == Outcome.failed("payload_too_large")


def a_key(private: Any) -> Secret:
    raw = private.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    ).decode()
    return Secret(raw)


async def test_a_provider_token_is_kept_for_fifty_minutes() -> None:
    clock, key = FakeClock(), ec.generate_private_key(ec.SECP256R1())
    tokens = ProviderTokens(a_key(key), "KEY", "TEAM", clock)
    first = await tokens.authorization()
    clock.advance(timedelta(minutes=49))
    assert await tokens.authorization() == first
    clock.advance(timedelta(minutes=2))
    second = await tokens.authorization()
    assert second != first
    token = second.removeprefix("authorization: bearer ")
    assert jwt.get_unverified_header(token)["kid"] == "KEY"
    claims = jwt.decode(
        token,
        key.public_key(),
        algorithms=["ES256"],
        options={"verify_iat": False},
    )
    assert claims == {"iss": "TEAM", "iat": int(clock.now().timestamp())}


async def test_a_refused_provider_token_is_replaced_once_in_twenty_minutes() -> None:
    clock = FakeClock()
    key = a_key(ec.generate_private_key(ec.SECP256R1()))
    tokens = ProviderTokens(key, "KEY", "TEAM", clock)
    first = await tokens.authorization()
    second = await tokens.authorization(first)
    assert second != first
    assert await tokens.authorization(first) == second
    assert await tokens.authorization(second) == second
    clock.advance(timedelta(minutes=21))
    assert await tokens.authorization(second) != second


@pytest.mark.parametrize(
    "key",
    [
        Secret("no key"),
        a_key(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
    ],
    ids=["text", "rsa"],
)
async def test_a_wrong_key_file_is_named(key: Secret) -> None:
    with pytest.raises(ConfigError, match="CLARION_APNS_KEY_FILE"):
        ProviderTokens(key, "KEY", "TEAM", FakeClock())
