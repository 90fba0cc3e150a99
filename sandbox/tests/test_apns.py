from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import Any

import pycurl
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from clarion.sandbox.catalog import APNS
from clarion.sandbox.testing import RunningSandbox

TOKEN = "ab" * 32
HOUR_AGO = int(time.time()) - 3700
PATH = f"/3/device/{TOKEN}"
BODY = {
    "aps": {"alert": {"title": "Hello"}},
    "clarion_notification_id": "n1",
    "clarion_delivery_id": "d1",
}
BAD_REQUESTS: list[tuple[str, Any, dict[str, str], int, str]] = [
    ("/3/device/", BODY, {}, 400, "MissingDeviceToken"),
    ("/3/device/%20x", BODY, {}, 400, "BadDeviceToken"),
    ("/4/device/x", BODY, {}, 404, "BadPath"),
    (PATH, b"", {}, 400, "PayloadEmpty"),
    (PATH, {"aps": "x" * 5000}, {}, 413, "PayloadTooLarge"),
    (PATH, BODY, {"apns-topic": ""}, 400, "MissingTopic"),
    (PATH, BODY, {"apns-push-type": "shout"}, 400, "InvalidPushType"),
    (PATH, BODY, {"apns-priority": "11"}, 400, "BadPriority"),
    (PATH, BODY, {"apns-push-type": "background"}, 400, "BadPriority"),
    (PATH, BODY, {"apns-expiration": "soon"}, 400, "BadExpirationDate"),
    (PATH, BODY, {"apns-collapse-id": "x" * 65}, 400, "BadCollapseId"),
    (PATH, BODY, {"apns-id": "7"}, 400, "BadMessageId"),
]


@pytest.fixture
def headers(sign_provider_token: Callable[..., str]) -> dict[str, str]:
    return {
        "authorization": f"bearer {sign_provider_token()}",
        "apns-topic": "com.example.app",
        "apns-push-type": "alert",
        "apns-priority": "10",
        "apns-expiration": "0",
    }


async def test_a_push_is_accepted_with_its_id_and_recorded(
    sandbox: RunningSandbox, curl: Any, headers: dict[str, str]
) -> None:
    apns_id = str(uuid.uuid4())
    extra = {"apns-id": apns_id, "apns-collapse-id": "order-1"}
    answer = await curl(PATH, BODY, headers | extra)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["apns-id"] == apns_id
    [kept] = await sandbox.messages(provider="apns")
    assert kept["recipient"] == TOKEN
    assert (kept["notification_id"], kept["delivery_id"]) == ("n1", "d1")
    assert kept["payload"] == BODY
    assert kept["details"]["apns-collapse-id"] == "order-1"
    assert "authorization" not in kept["details"]


@pytest.mark.parametrize(
    ("path", "body", "extra", "status", "reason"),
    BAD_REQUESTS,
    ids=lambda v: str(v)[:30],
)
async def test_a_bad_request_is_refused_with_apples_reason(
    curl: Any,
    headers: dict[str, str],
    path: str,
    body: Any,
    extra: dict[str, str],
    status: int,
    reason: str,
) -> None:
    answer = await curl(path, body, headers | extra)
    assert (answer.status, answer.json()) == (status, {"reason": reason})


async def test_a_get_is_not_allowed(curl: Any, headers: dict[str, str]) -> None:
    answer = await curl(PATH, BODY, headers, method="PUT")
    assert (answer.status, answer.json()["reason"]) == (405, "MethodNotAllowed")


async def test_a_provider_token_is_required(curl: Any, headers: dict[str, str]) -> None:
    del headers["authorization"]
    answer = await curl(PATH, BODY, headers)
    assert (answer.status, answer.json()["reason"]) == (403, "MissingProviderToken")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"iss": "ANOTHER"}, "InvalidProviderToken"),
        ({"kid": "ANOTHER"}, "InvalidProviderToken"),
        ({"iat": "now"}, "InvalidProviderToken"),
        ({"iat": HOUR_AGO}, "ExpiredProviderToken"),
    ],
    ids=["team", "key", "time", "expired"],
)
async def test_a_wrong_provider_token_is_refused(
    curl: Any,
    headers: dict[str, str],
    sign_provider_token: Callable[..., str],
    changed: dict[str, Any],
    reason: str,
) -> None:
    headers["authorization"] = f"bearer {sign_provider_token(**changed)}"
    answer = await curl(PATH, BODY, headers)
    assert (answer.status, answer.json()["reason"]) == (403, reason)


async def test_a_provider_token_of_another_key_is_refused(
    curl: Any, headers: dict[str, str], sign_provider_token: Callable[..., str]
) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    headers["authorization"] = f"bearer {sign_provider_token(other)}"
    answer = await curl(PATH, BODY, headers)
    assert answer.json()["reason"] == "InvalidProviderToken"


@pytest.mark.parametrize("reason", sorted(APNS))
async def test_every_reason_can_be_scripted(
    sandbox: RunningSandbox, curl: Any, headers: dict[str, str], reason: str
) -> None:
    match = {"provider": "apns"}
    await sandbox.script([{"match": match, "action": {"code": reason}}])
    answer = await curl(PATH, BODY, headers)
    assert (answer.status, answer.json()["reason"]) == APNS[reason]
    assert ("timestamp" in answer.json()) is (answer.status == 410)


async def test_retry_after_is_a_header(
    sandbox: RunningSandbox, curl: Any, headers: dict[str, str]
) -> None:
    await sandbox.script([{"action": {"status": 503, "retry_after": 900}}])
    answer = await curl(PATH, BODY, headers)
    assert answer.headers["retry-after"] == "900"
    assert answer.json() == {"reason": "ServiceUnavailable"}


@pytest.mark.parametrize(("when", "kept"), [("before", 0), ("after", 1)])
async def test_a_hang_up_leaves_no_answer(
    sandbox: RunningSandbox, curl: Any, headers: dict[str, str], when: str, kept: int
) -> None:
    await sandbox.script([{"times": 1, "action": {"hang_up": when}}])
    with pytest.raises(pycurl.error):
        await curl(PATH, BODY, headers)
    assert len(await sandbox.arrivals()) == kept
    assert (await curl(PATH, BODY, headers)).status == 200


async def test_a_delay_is_kept_to(
    sandbox: RunningSandbox, curl: Any, headers: dict[str, str]
) -> None:
    await sandbox.script([{"times": 1, "action": {"delay_ms": 200}}])
    start = time.monotonic()
    assert (await curl(PATH, BODY, headers)).status == 200
    assert time.monotonic() - start >= 0.2


def push_many(
    sandbox: RunningSandbox, headers: dict[str, str], count: int
) -> list[int]:
    multi = pycurl.CurlMulti()
    multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
    multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, 1)
    handles = []
    for _ in range(count):
        easy = pycurl.Curl()
        easy.setopt(pycurl.URL, sandbox.push_tls_url + PATH)
        easy.setopt(pycurl.CAINFO, sandbox.ca_file)
        easy.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
        easy.setopt(pycurl.PIPEWAIT, 1)
        easy.setopt(pycurl.POSTFIELDS, b'{"aps":{}}')
        easy.setopt(pycurl.HTTPHEADER, [f"{k}: {v}" for k, v in headers.items()])
        easy.setopt(pycurl.WRITEFUNCTION, len)
        multi.add_handle(easy)
        handles.append(easy)
    running = count
    while running:
        _, running = multi.perform()
        multi.select(0.05)
    statuses = [easy.getinfo(pycurl.RESPONSE_CODE) for easy in handles]
    for easy in handles:
        multi.remove_handle(easy)
        easy.close()
    multi.close()
    return statuses


async def test_one_connection_carries_many_streams_at_once(
    sandbox: RunningSandbox, headers: dict[str, str]
) -> None:
    statuses = await asyncio.to_thread(push_many, sandbox, headers, 500)
    assert statuses == [200] * 500
    assert len(await sandbox.arrivals()) == 500
