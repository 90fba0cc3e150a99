from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from clarion.sandbox.testing import RunningSandbox

SEND = "/v1/projects/demo/messages:send"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
IDS = {"clarion_notification_id": "n1", "clarion_delivery_id": "d1"}

CODES = [
    ("UNREGISTERED", 404, "NOT_FOUND"),
    ("INVALID_ARGUMENT", 400, "INVALID_ARGUMENT"),
    ("SENDER_ID_MISMATCH", 403, "PERMISSION_DENIED"),
    ("QUOTA_EXCEEDED", 429, "RESOURCE_EXHAUSTED"),
    ("UNAVAILABLE", 503, "UNAVAILABLE"),
    ("INTERNAL", 500, "INTERNAL"),
    ("THIRD_PARTY_AUTH_ERROR", 401, "UNAUTHENTICATED"),
]
BAD_MESSAGES: list[Any] = [
    {},
    {"message": []},
    {"message": {"data": {}}},
    {"message": {"token": "t", "topic": "x"}},
    {"message": {"token": "t", "data": {"number": 5}}},
    {"message": {"token": "t", "data": {"google.x": "5"}}},
    {"message": {"token": "t", "data": {"long": "x" * 5000}}},
]


def message(token: str = "t1") -> dict[str, Any]:
    return {"message": {"token": token, "data": IDS}}


@pytest.fixture
def send(
    sandbox: RunningSandbox, http: aiohttp.ClientSession, access_token: str
) -> Callable[..., Any]:
    async def post(document: Any) -> tuple[int, Any, Any]:
        async with http.post(
            sandbox.fcm_url + SEND,
            json=document,
            headers={"authorization": f"Bearer {access_token}"},
        ) as response:
            return response.status, await response.json(), response.headers

    return post


async def test_a_message_is_answered_with_its_name_and_recorded(
    sandbox: RunningSandbox, send: Callable[..., Any]
) -> None:
    status, answer, _ = await send(message())
    assert status == 200
    assert answer["name"].startswith("projects/demo/messages/0:")
    [kept] = await sandbox.messages()
    assert kept["provider"] == "fcm"
    assert kept["channel"] == "push"
    assert kept["recipient"] == "t1"
    assert (kept["notification_id"], kept["delivery_id"]) == ("n1", "d1")
    assert kept["payload"] == message()
    assert kept["provider_message_id"] == answer["name"]


async def test_the_same_message_passes_over_http2(
    sandbox: RunningSandbox, curl: Any, access_token: str
) -> None:
    answer = await curl(SEND, message(), {"authorization": f"Bearer {access_token}"})
    assert answer.status == 200
    assert [d for _, d, _, _ in await sandbox.arrivals()] == ["d1"]


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer stolen"}])
async def test_without_a_good_token_it_is_unauthenticated(
    sandbox: RunningSandbox, http: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    url = sandbox.fcm_url + SEND
    async with http.post(url, json=message(), headers=headers) as response:
        assert response.status == 401
        assert "www-authenticate" in response.headers
        assert (await response.json())["error"]["status"] == "UNAUTHENTICATED"
    assert await sandbox.messages() == []


@pytest.mark.parametrize(("code", "status", "rpc"), CODES)
async def test_a_scripted_code_is_told_as_fcm_tells_it(
    sandbox: RunningSandbox,
    send: Callable[..., Any],
    code: str,
    status: int,
    rpc: str,
) -> None:
    action = {"code": code, "retry_after": 7}
    await sandbox.script([{"match": {"provider": "fcm"}, "action": action}])
    got, answer, headers = await send(message())
    assert got == status
    error = answer["error"]
    assert (error["code"], error["status"]) == (status, rpc)
    assert error["details"][0]["errorCode"] == code
    assert error["details"][0]["@type"].endswith("google.firebase.fcm.v1.FcmError")
    assert headers["retry-after"] == "7"
    assert await sandbox.arrivals() == []


@pytest.mark.parametrize("document", BAD_MESSAGES, ids=lambda d: str(d)[:50])
async def test_a_bad_message_is_an_invalid_argument(
    send: Callable[..., Any], document: Any
) -> None:
    status, answer, _ = await send(document)
    assert status == 400
    details = answer["error"]["details"]
    assert details[0]["errorCode"] == "INVALID_ARGUMENT"
    assert details[1]["fieldViolations"][0]["field"].startswith("message")


async def test_a_token_can_be_unregistered(
    sandbox: RunningSandbox, send: Callable[..., Any]
) -> None:
    rule = {"match": {"recipient": "dead*"}, "action": {"unregistered": True}}
    await sandbox.script([rule])
    assert (await send(message("dead-1")))[0] == 404
    assert (await send(message("alive")))[0] == 200


async def test_hanging_up_before_accepts_nothing(
    sandbox: RunningSandbox, send: Callable[..., Any]
) -> None:
    await sandbox.script([{"action": {"hang_up": "before"}}])
    with pytest.raises(aiohttp.ClientError):
        await send(message())
    assert await sandbox.arrivals() == []


async def test_hanging_up_after_accepts_without_an_answer(
    sandbox: RunningSandbox, send: Callable[..., Any]
) -> None:
    await sandbox.script([{"action": {"hang_up": "after"}}])
    with pytest.raises(aiohttp.ClientError):
        await send(message())
    assert len(await sandbox.arrivals()) == 1
    assert (await sandbox.messages())[0]["outcome"] == "hang_up_after"


async def test_a_delayed_answer_holds_up_nobody_else(
    sandbox: RunningSandbox, send: Callable[..., Any]
) -> None:
    rule = {"match": {"recipient": "slow"}, "action": {"delay_ms": 300}}
    await sandbox.script([rule])
    order = []

    async def one(token: str) -> None:
        await send(message(token))
        order.append(token)

    start = time.monotonic()
    await asyncio.gather(one("slow"), one("fast"))
    assert order == ["fast", "slow"]
    assert time.monotonic() - start >= 0.3


async def test_the_body_and_status_can_be_scripted(
    sandbox: RunningSandbox, send: Callable[..., Any]
) -> None:
    await sandbox.script([{"action": {"status": 502, "body": {"odd": 1}}}])
    status, answer, _ = await send(message())
    assert (status, answer) == (502, {"odd": 1})


BAD_GRANTS = [
    ({"iss": "somebody@else"}, "invalid_grant"),
    ({"aud": "https://example.com/token"}, "invalid_grant"),
    ({"exp": 5}, "invalid_grant"),
    ({"scope": "https://www.googleapis.com/auth/drive"}, "invalid_scope"),
]


@pytest.mark.parametrize(("claims", "error"), BAD_GRANTS)
async def test_a_wrong_assertion_gets_no_token(
    sandbox: RunningSandbox,
    http: aiohttp.ClientSession,
    sign_assertion: Callable[..., str],
    claims: dict[str, Any],
    error: str,
) -> None:
    form = {"grant_type": GRANT, "assertion": sign_assertion(**claims)}
    async with http.post(sandbox.oauth_token_url, data=form) as response:
        assert response.status == 400
        assert (await response.json())["error"] == error


async def test_an_assertion_signed_by_another_key_gets_no_token(
    sandbox: RunningSandbox,
    http: aiohttp.ClientSession,
    sign_assertion: Callable[..., str],
) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = {"grant_type": GRANT, "assertion": sign_assertion(other)}
    async with http.post(sandbox.oauth_token_url, data=form) as response:
        assert response.status == 400
        description = (await response.json())["error_description"]
        assert description == "Invalid JWT Signature."


async def test_the_token_endpoint_can_fail_by_script(
    sandbox: RunningSandbox,
    http: aiohttp.ClientSession,
    sign_assertion: Callable[..., str],
) -> None:
    rule = {"match": {"provider": "oauth"}, "times": 1, "action": {"status": 503}}
    await sandbox.script([rule])
    form = {"grant_type": GRANT, "assertion": sign_assertion()}
    statuses = []
    for _ in range(2):
        async with http.post(sandbox.oauth_token_url, data=form) as response:
            statuses.append(response.status)
    assert statuses == [503, 200]
