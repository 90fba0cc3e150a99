from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from clarion.sandbox.testing import RunningSandbox

SIGNATURE = "x-twilio-email-event-webhook-signature"
TIMESTAMP = "x-twilio-email-event-webhook-timestamp"
BAD_MAILS: list[tuple[dict[str, Any], str]] = [
    ({"personalizations": []}, "personalizations"),
    ({"personalizations": [{}]}, "personalizations.0.to"),
    (
        {"personalizations": [{"to": [{"email": "ada"}]}]},
        "personalizations.0.to.0.email",
    ),
    ({"from": {}}, "from.email"),
    ({"subject": ""}, "subject"),
    ({"content": []}, "content"),
]


def mail(*recipients: str, **changed: Any) -> dict[str, Any]:
    ids = {"clarion_notification_id": "n1", "clarion_delivery_id": "d1"}
    people = [{"email": name} for name in recipients or ("ada@example.com",)]
    return {
        "personalizations": [{"to": people, "custom_args": ids}],
        "from": {"email": "shop@example.com"},
        "subject": "Your order",
        "content": [{"type": "text/plain", "value": "It is on its way."}],
    } | changed


@pytest.fixture
def send(sandbox: RunningSandbox, http: aiohttp.ClientSession) -> Callable[..., Any]:
    async def post(document: Any, key: str = "SG.key") -> tuple[int, str, Any]:
        async with http.post(
            f"{sandbox.sendgrid_url}/v3/mail/send",
            json=document,
            headers={"authorization": f"Bearer {key}"} if key else {},
        ) as response:
            return response.status, await response.text(), response.headers

    return post


def events(sandbox: RunningSandbox, hooks: Any) -> list[dict[str, Any]]:
    """Events of every post, after checking each signature over the exact bytes."""
    text = Path(sandbox.sendgrid_public_key_file).read_text()
    key = load_der_public_key(base64.b64decode(text))
    assert isinstance(key, ec.EllipticCurvePublicKey)
    found = []
    for _, headers, body in hooks.got:
        signed = headers[TIMESTAMP].encode() + body
        key.verify(
            base64.b64decode(headers[SIGNATURE]), signed, ec.ECDSA(hashes.SHA256())
        )
        assert body.endswith(b"\r\n")
        found += json.loads(body)
    return found


async def test_a_mail_is_accepted_and_recorded(
    sandbox: RunningSandbox, send: Callable[..., Any]
) -> None:
    status, body, headers = await send(mail())
    assert (status, body) == (202, "")
    assert {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"} <= {
        name.lower() for name in headers
    }
    [kept] = await sandbox.messages(provider="sendgrid")
    assert kept["provider_message_id"] == headers["x-message-id"]
    assert kept["recipient"] == "ada@example.com"
    assert (kept["notification_id"], kept["delivery_id"]) == ("n1", "d1")


async def test_events_are_posted_signed_with_the_custom_arguments(
    sandbox: RunningSandbox, send: Callable[..., Any], hooks: Any, wait_until: Any
) -> None:
    await sandbox.webhooks(sendgrid_events_url=hooks.url)
    _, _, headers = await send(mail())
    await wait_until(lambda: hooks.got and b"delivered" in hooks.got[-1][2])
    found = events(sandbox, hooks)
    assert [event["event"] for event in found] == ["processed", "delivered"]
    for event in found:
        assert event["clarion_delivery_id"] == "d1"
        assert event["sg_message_id"].startswith(headers["x-message-id"])
    assert len({event["sg_event_id"] for event in found}) == 2


async def test_an_unknown_mailbox_bounces_after_it_was_accepted(
    sandbox: RunningSandbox, send: Callable[..., Any], hooks: Any, wait_until: Any
) -> None:
    await sandbox.webhooks(sendgrid_events_url=hooks.url)
    await sandbox.script([{"action": {"unregistered": True}}])
    assert (await send(mail()))[0] == 202
    await wait_until(lambda: hooks.got and b"bounce" in hooks.got[-1][2])
    bounce = events(sandbox, hooks)[-1]
    assert (bounce["event"], bounce["type"]) == ("bounce", "bounce")
    assert bounce["status"] == "5.1.1"


async def test_events_are_posted_again_until_they_are_taken(
    sandbox: RunningSandbox, send: Callable[..., Any], hooks: Any, wait_until: Any
) -> None:
    hooks.statuses = [503]
    await sandbox.webhooks(sendgrid_events_url=hooks.url)
    await sandbox.script([{"action": {"receipts": [{"status": "open"}]}}])
    await send(mail())
    await wait_until(lambda: len(hooks.got) == 2)
    first, second = events(sandbox, hooks)
    assert first == second


async def test_a_key_is_required(send: Callable[..., Any]) -> None:
    status, body, _ = await send(mail(), key="")
    assert status == 401
    assert json.loads(body)["errors"][0]["message"].startswith("The provided author")


@pytest.mark.parametrize(("changed", "field"), BAD_MAILS, ids=str)
async def test_a_bad_mail_is_refused_with_its_field(
    send: Callable[..., Any], changed: dict[str, Any], field: str
) -> None:
    status, body, _ = await send(mail(**changed))
    assert status == 400
    assert json.loads(body)["errors"][0]["field"] == field


async def test_a_rate_limit_says_when_it_ends(
    sandbox: RunningSandbox, send: Callable[..., Any]
) -> None:
    await sandbox.script([{"action": {"status": 429, "retry_after": 30}}])
    status, body, headers = await send(mail())
    assert status == 429
    assert json.loads(body)["errors"][0]["message"] == "too many requests"
    assert headers["x-ratelimit-remaining"] == "0"
    assert int(headers["x-ratelimit-reset"]) > 1_000_000_000


async def test_one_refused_recipient_refuses_the_request(
    sandbox: RunningSandbox, send: Callable[..., Any]
) -> None:
    rule = {"match": {"recipient": "b@x.org"}, "action": {"status": 503}}
    await sandbox.script([rule])
    assert (await send(mail("a@x.org", "b@x.org")))[0] == 503
    assert await sandbox.arrivals() == []
    assert (await send(mail("a@x.org", "c@x.org")))[0] == 202
    assert len(await sandbox.arrivals()) == 2
