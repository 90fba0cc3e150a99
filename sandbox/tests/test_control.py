from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from clarion.sandbox.page import people
from clarion.sandbox.record import Arrival, Filter
from clarion.sandbox.testing import RunningSandbox

BAD_REQUESTS = [
    ("GET", "/messages?limit=x", None, "limit"),
    ("GET", "/messages?limit=99999", None, "limit"),
    ("GET", "/messages?after=-1", None, "after"),
    ("GET", "/messages?provider=gcm", None, "provider"),
    ("GET", "/messages?chanel=sms", None, "chanel"),
    ("GET", "/arrivals?channel=fax", None, "channel"),
    ("PUT", "/script", {"rules": 5}, "rules"),
    ("PUT", "/script", {"rulez": []}, "rulez"),
    ("PUT", "/webhooks", {"sendgrid_events_url": "x"}, "sendgrid_events_url"),
    ("PUT", "/webhooks", {"url": "http://x"}, "url"),
    ("POST", "/receipts", {"status": "sent"}, "message_id"),
    ("POST", "/receipts", {"inbound": {"from": "+1"}}, "inbound.to"),
]


def fill(sandbox: RunningSandbox, count: int = 3) -> None:
    for number in range(count):
        arrival = Arrival(
            *("fcm", "push", f"t{number}", "n", f"d{number}", b"{}", json.loads),
            provider_message_id=f"m{number}",
        )
        sandbox.sandbox.store.add(arrival, "accepted", accepted=True)


@pytest.fixture
def call(sandbox: RunningSandbox, http: aiohttp.ClientSession) -> Any:
    async def request(method: str, path: str, body: Any = None) -> tuple[int, Any]:
        url = sandbox.control_url + path
        async with http.request(method, url, json=body) as response:
            return response.status, await response.json()

    return request


@pytest.mark.parametrize(("method", "path", "body", "field"), BAD_REQUESTS, ids=str)
async def test_a_bad_request_is_answered_with_its_field(
    call: Any, method: str, path: str, body: Any, field: str
) -> None:
    status, answer = await call(method, path, body)
    assert status == 400
    assert answer["error"]["field"] == field
    assert answer["error"]["message"]


async def test_messages_come_newest_first_or_after_a_cursor(
    sandbox: RunningSandbox, call: Any
) -> None:
    fill(sandbox)
    _, answer = await call("GET", "/messages?limit=2")
    assert [m["recipient"] for m in answer["messages"]] == ["t2", "t1"]
    _, answer = await call("GET", "/messages?after=1&provider=fcm&channel=push")
    assert [m["recipient"] for m in answer["messages"]] == ["t1", "t2"]
    _, answer = await call("GET", f"/messages?after={answer['cursor']}")
    assert answer["messages"] == []


async def test_the_summary_counts(sandbox: RunningSandbox, call: Any) -> None:
    fill(sandbox)
    _, answer = await call("GET", "/summary")
    assert answer["accepted"] == {
        "total": 3,
        "by_provider": {"fcm": 3},
        "by_channel": {"push": 3},
    }
    assert answer["outcomes"] == {"fcm": {"accepted": 3}}


async def test_arrivals_stream_as_lines_or_as_one_list(
    sandbox: RunningSandbox, http: aiohttp.ClientSession
) -> None:
    fill(sandbox, 5000)
    async with http.get(f"{sandbox.control_url}/arrivals?channel=push") as response:
        lines = [json.loads(line) async for line in response.content]
    async with http.get(f"{sandbox.control_url}/arrivals?format=json") as response:
        assert await response.json() == lines
    assert len(lines) == 5000
    assert lines[7]["delivery_id"] == "d7"
    assert set(lines[7]) == {"notification_id", "delivery_id", "channel", "arrived_ms"}
    async with http.get(f"{sandbox.control_url}/arrivals?channel=sms") as response:
        assert await response.read() == b""


async def test_a_reset_forgets_and_the_rules_stay(
    sandbox: RunningSandbox, call: Any
) -> None:
    fill(sandbox)
    await call("PUT", "/script", [{"action": {"status": 503}}])
    await call("DELETE", "/messages")
    assert (await call("GET", "/summary"))[1]["accepted"]["total"] == 0
    _, answer = await call("GET", "/script")
    assert answer["rules"] == [{"action": {"status": 503}, "applied": 0}]
    await call("DELETE", "/script")
    assert (await call("GET", "/script"))[1] == {"rules": []}


async def test_a_receipt_for_nothing_is_not_found(call: Any) -> None:
    body = {"message_id": "SMx", "status": "sent"}
    status, answer = await call("POST", "/receipts", body)
    assert (status, answer["error"]["reason"]) == (404, "NOT_FOUND")


async def test_a_receipt_can_be_fired_for_a_delivery(
    sandbox: RunningSandbox,
    call: Any,
    hooks: Any,
    http: aiohttp.ClientSession,
    wait_until: Any,
) -> None:
    await call("PUT", "/script", [{"action": {"silent": True}}])
    account = f"/2010-04-01/Accounts/{sandbox.twilio_account_sid}"
    basic = aiohttp.encode_basic_auth(
        sandbox.twilio_account_sid, sandbox.twilio_auth_token
    )
    callback = f"{hooks.url}?delivery_id=d9&notification_id=n9"
    form = {"To": "+15550100001", "From": "+15550100002", "Body": "x"}
    async with http.post(
        f"{sandbox.twilio_url}{account}/Messages.json",
        data=form | {"StatusCallback": callback},
        headers={"authorization": basic},
    ) as response:
        assert response.status == 201
    body = {"delivery_id": "d9", "status": "failed", "error_code": 30008}
    assert (await call("POST", "/receipts", body))[0] == 202
    await wait_until(lambda: hooks.got)
    assert hooks.forms()[0]["MessageStatus"] == "failed"
    await wait_until(lambda: sandbox.sandbox.receipts.sent["twilio"] == 1)
    _, answer = await call("GET", "/receipts")
    assert answer["newest"][0]["answered"] == 200


async def test_the_page_and_its_events_are_served(
    sandbox: RunningSandbox, http: aiohttp.ClientSession
) -> None:
    fill(sandbox, 100)
    async with http.get(sandbox.control_url + "/") as response:
        assert response.content_type == "text/html"
        text = await response.text()
    assert "Clarion sandbox" in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "https://" not in text
    async with http.get(sandbox.control_url + "/live") as response:
        lines = response.content
        while not (line := await lines.readline()).startswith(b"data: "):
            pass
    event = json.loads(line[6:])
    assert event["accepted"]["by_channel"] == {"push": 100}
    assert len(event["messages"]) == 25


async def test_addresses_that_share_a_notification_are_one_person(
    sandbox: RunningSandbox,
) -> None:
    store = sandbox.sandbox.store
    for provider, channel, address, notification in (
        ("fcm", "push", "token-a", "n1"),
        ("smtp", "email", "ada@example.com", "n1"),
        ("twilio", "sms", "+1555", "n2"),
        ("fcm", "push", "token-a", "n2"),
        ("fcm", "push", "token-b", "n3"),
    ):
        arrival = Arrival(provider, channel, address, notification, "", b"", json.loads)
        store.add(arrival, "accepted", accepted=True)
    found = people(store.find(Filter(), 99))
    assert [one["name"] for one in found] == ["token-b", "ada@example.com"]
    assert found[1]["counts"] == {"push": 2, "email": 1, "sms": 1}
