from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from twilio.request_validator import RequestValidator

from clarion.sandbox.catalog import TWILIO
from clarion.sandbox.testing import RunningSandbox

ADA, OURS = "+15550100001", "+15550009999"


@pytest.fixture
def send(sandbox: RunningSandbox, http: aiohttp.ClientSession) -> Callable[..., Any]:
    basic = aiohttp.encode_basic_auth(
        sandbox.twilio_account_sid, sandbox.twilio_auth_token
    )

    async def post(**changed: str) -> tuple[int, Any, Any]:
        form = {"To": ADA, "From": OURS, "Body": "Hello"} | changed
        account = f"/2010-04-01/Accounts/{sandbox.twilio_account_sid}"
        async with http.post(
            f"{sandbox.twilio_url}{account}/Messages.json",
            data={name: value for name, value in form.items() if value},
            headers={"authorization": basic},
        ) as response:
            return response.status, await response.json(), response.headers

    return post


def callback(hooks: Any) -> str:
    return f"{hooks.url}/hook?delivery_id=d1&notification_id=n1"


def checked(sandbox: RunningSandbox, hooks: Any) -> list[dict[str, str]]:
    """The forms that were posted, each with a signature that Twilio's library takes."""
    validator = RequestValidator(sandbox.twilio_auth_token)
    for (url, headers, _), form in zip(hooks.got, hooks.forms(), strict=True):
        assert validator.validate(url, form, headers["x-twilio-signature"])
    return list(hooks.forms())


async def test_a_message_is_queued_and_recorded(
    sandbox: RunningSandbox, send: Callable[..., Any], hooks: Any
) -> None:
    status, answer, _ = await send(StatusCallback=callback(hooks))
    assert status == 201
    assert answer["status"] == "queued"
    assert (answer["to"], answer["from"], answer["body"]) == (ADA, OURS, "Hello")
    [kept] = await sandbox.messages(channel="sms")
    assert kept["provider_message_id"] == answer["sid"]
    assert (kept["notification_id"], kept["delivery_id"]) == ("n1", "d1")
    assert kept["payload"]["Body"] == "Hello"


async def test_status_callbacks_follow_signed(
    sandbox: RunningSandbox, send: Callable[..., Any], hooks: Any, wait_until: Any
) -> None:
    _, answer, _ = await send(StatusCallback=callback(hooks))
    await wait_until(lambda: len(hooks.got) == 2)
    forms = checked(sandbox, hooks)
    assert [form["MessageStatus"] for form in forms] == ["sent", "delivered"]
    assert {form["MessageSid"] for form in forms} == {answer["sid"]}


async def test_receipts_can_be_late_double_and_out_of_order(
    sandbox: RunningSandbox, send: Callable[..., Any], hooks: Any, wait_until: Any
) -> None:
    receipts = [
        {"status": "delivered", "after_ms": 10},
        {"status": "sent", "after_ms": 60},
        {"status": "delivered", "after_ms": 110},
    ]
    await sandbox.script([{"action": {"receipts": receipts}}])
    await send(StatusCallback=callback(hooks))
    await wait_until(lambda: len(hooks.got) == 3)
    order = [form["MessageStatus"] for form in checked(sandbox, hooks)]
    assert order == ["delivered", "sent", "delivered"]


async def test_an_undelivered_message_carries_its_error_code(
    sandbox: RunningSandbox,
    send: Callable[..., Any],
    hooks: Any,
    wait_until: Any,
    http: aiohttp.ClientSession,
) -> None:
    receipts = [{"status": "undelivered", "error_code": 30005}]
    await sandbox.script([{"action": {"receipts": receipts}}])
    _, answer, _ = await send(StatusCallback=callback(hooks))
    await wait_until(lambda: hooks.got)
    assert checked(sandbox, hooks)[0]["ErrorCode"] == "30005"
    basic = aiohttp.encode_basic_auth(
        sandbox.twilio_account_sid, sandbox.twilio_auth_token
    )
    async with http.get(
        sandbox.twilio_url + answer["uri"], headers={"authorization": basic}
    ) as response:
        message = await response.json()
    assert (message["status"], message["error_code"]) == ("undelivered", 30005)


@pytest.mark.parametrize("code", sorted(TWILIO))
async def test_every_error_code_can_be_scripted(
    sandbox: RunningSandbox, send: Callable[..., Any], code: str
) -> None:
    match = {"provider": "twilio"}
    action = {"code": int(code), "retry_after": 3}
    await sandbox.script([{"match": match, "action": action}])
    status, answer, headers = await send()
    assert status == answer["status"] == TWILIO[code][0]
    assert answer["code"] == int(code)
    assert answer["more_info"].endswith(f"/errors/{code}")
    assert answer["message"]
    assert headers["retry-after"] == "3"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"To": ""}, 21604),
        ({"To": "5550100"}, 21211),
        ({"From": ""}, 21603),
        ({"From": ADA}, 21266),
        ({"Body": ""}, 21602),
        ({"Body": "x" * 1601}, 21617),
        ({"StatusCallback": "ftp://x"}, 21609),
        ({"StatusCallback": "http://[x"}, 21609),
    ],
    ids=str,
)
async def test_a_bad_request_gets_twilios_code(
    send: Callable[..., Any], changed: dict[str, str], code: int
) -> None:
    status, answer, _ = await send(**changed)
    assert (status, answer["code"]) == (400, code)


async def test_a_wrong_password_is_refused(
    sandbox: RunningSandbox, http: aiohttp.ClientSession
) -> None:
    account = f"/2010-04-01/Accounts/{sandbox.twilio_account_sid}"
    basic = aiohttp.encode_basic_auth(sandbox.twilio_account_sid, "guess")
    async with http.post(
        f"{sandbox.twilio_url}{account}/Messages.json",
        headers={"authorization": basic},
    ) as response:
        assert response.status == 401
        assert (await response.json())["code"] == 20003


@pytest.mark.parametrize(
    ("overrides", "posts"),
    [("", 1), ("#rc=2&rp=ct", 1), ("#rc=1&rp=all", 2), ("#rc=2&rp=ct,5xx", 3)],
)
async def test_what_is_not_taken_is_posted_again_as_its_url_says(
    sandbox: RunningSandbox,
    send: Callable[..., Any],
    hooks: Any,
    wait_until: Any,
    overrides: str,
    posts: int,
) -> None:
    hooks.statuses = [503] * 4
    await sandbox.script([{"action": {"receipts": [{"status": "read"}]}}])
    await send(StatusCallback=callback(hooks) + overrides)
    await wait_until(lambda: len(hooks.got) == posts)
    while (await sandbox.receipts())["pending"]:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    assert [form["MessageStatus"] for form in hooks.forms()] == ["read"] * posts


async def test_stop_is_posted_and_holds_until_start(
    sandbox: RunningSandbox, send: Callable[..., Any], hooks: Any, wait_until: Any
) -> None:
    await sandbox.webhooks(twilio_inbound_url=f"{hooks.url}/inbound")
    await sandbox.receive_sms(ADA, OURS, "Stop ")
    assert (await send())[1]["code"] == 21610
    await sandbox.receive_sms(ADA, OURS, "START")
    assert (await send())[0] == 201
    await wait_until(lambda: len(hooks.got) == 2)
    forms = checked(sandbox, hooks)
    assert {form["OptOutType"] for form in forms} == {"STOP", "START"}
    assert {form["From"] for form in forms} == {ADA}


async def test_a_silent_message_is_never_reported(
    sandbox: RunningSandbox, send: Callable[..., Any], hooks: Any
) -> None:
    await sandbox.script([{"action": {"silent": True}}])
    await send(StatusCallback=callback(hooks))
    assert (await sandbox.receipts())["pending"] == 0


async def test_a_reset_drops_receipts_that_are_still_to_come(
    sandbox: RunningSandbox, send: Callable[..., Any], hooks: Any, wait_until: Any
) -> None:
    await send(StatusCallback=callback(hooks))
    await sandbox.reset()
    await sandbox.script([{"action": {"receipts": [{"status": "read"}]}}])
    await send(StatusCallback=callback(hooks), Body="second")
    await wait_until(lambda: hooks.got)
    assert [form["MessageStatus"] for form in hooks.forms()] == ["read"]
