from __future__ import annotations

import secrets

import aiohttp
import pytest
import pytest_asyncio

from clarion.api.recipients.v1.recipient_pb2 import Device, Recipient
from clarion.client import Client, notification
from clarion.client.embedded.collector import CollectedSpan
from clarion.runtime.testing import wait_until

CHANNELS = ["push", "email", "sms", "in_app"]
SEND = "clarion.api.router.v1.NotificationService/SendNotification"
# (service, span): (service, span) of its parent; how many of it there are.
EDGE = ("clarion-edge", "ingress")
ACCEPT = ("clarion-router", SEND)
ROUTE = ("clarion-router", "route notification")
PROFILES = (
    "clarion-recipients",
    "clarion.api.recipients.v1.RecipientService/BatchGetRecipients",
)
TREE = {
    EDGE: ("caller", 1),
    ACCEPT: (EDGE, 1),
    ROUTE: (ACCEPT, 1),
    PROFILES: (ACCEPT, 1),
    (
        "clarion-ratelimit",
        "clarion.api.ratelimit.v1.RateLimitService/BatchAcquire",
    ): (ROUTE, 1),
    (
        "clarion-templating",
        "clarion.api.templating.v1.TemplateService/BatchRender",
    ): (ROUTE, 1),
    ("clarion-push", "deliver push"): (ROUTE, 2),
    ("clarion-push", "fcm send"): (("clarion-push", "deliver push"), 1),
    ("clarion-push", "apns send"): (("clarion-push", "deliver push"), 1),
    ("clarion-email", "deliver email"): (ROUTE, 1),
    ("clarion-email", "smtp send"): (("clarion-email", "deliver email"), 1),
    ("clarion-sms", "deliver sms"): (ROUTE, 1),
    ("clarion-sms", "twilio send"): (("clarion-sms", "deliver sms"), 1),
    ("clarion-inapp", "deliver in_app"): (ROUTE, 1),
    ("clarion-inapp", "inbox send"): (("clarion-inapp", "deliver in_app"), 1),
}
# Profiles are read while a notification is being stored; those of a busy mesh later.
TREES = (TREE, TREE | {PROFILES: (ROUTE, 1)})


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def person(stack) -> str:
    user_id = f"traced-{secrets.token_hex(4)}"
    async with Client(stack.urls["grpc"], stack.demo_key) as client:
        await client.put_recipients(
            [
                Recipient(
                    user_id=user_id,
                    email=f"{user_id}@people.example",
                    phone_number="+14155557777",
                    devices=[
                        Device(platform="android", token=f"fcm-{user_id}"),
                        Device(platform="ios", token=user_id.encode().hex() + "00"),
                    ],
                )
            ]
        )
    return user_id


def tree(
    spans: list[CollectedSpan], caller_span: str
) -> dict[tuple[str, str], tuple[object, int]]:
    """What `TREE` has, of spans; spans of one name must have parents of one name."""
    by_id = {span.span_id: span for span in spans}
    found: dict[tuple[str, str], tuple[object, int]] = {}
    for span in by_id.values():
        name = (span.service, span.name)
        above = by_id.get(span.parent_id)
        if span.parent_id == caller_span:
            parent: object = "caller"
        else:
            parent = (above.service, above.name) if above else f"lost: {span.parent_id}"
        before, count = found.get(name, (parent, 0))
        assert before == parent, f"{name} is below {before} and {parent}"
        found[name] = (parent, count + 1)
    return found


async def _send(stack, user_id: str, traceparent: str) -> str:
    body = {"user_id": user_id, "type": "note", "title": "x", "channels": CHANNELS}
    headers = {"authorization": f"Bearer {stack.demo_key}", "traceparent": traceparent}
    url = f"{stack.urls['rest']}/api/v1/notifications"
    async with (
        aiohttp.ClientSession() as http,
        http.post(url, json=body, headers=headers) as response,
    ):
        assert response.status == 200, await response.text()
        return str((await response.json())["notification_id"])


async def test_sampled_rest_send_is_one_trace_down_to_every_provider(
    stack, collector, person: str
):
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    sent = await _send(stack, person, f"00-{trace_id}-{span_id}-01")

    def is_complete() -> bool:
        spans = collector.trace(trace_id)
        return len(spans) >= sum(count for _, count in TREE.values())

    await wait_until(is_complete, 20, what=f"{len(TREE)} kinds of spans")
    spans = collector.trace(trace_id)
    assert tree(spans, span_id) in TREES
    marked = [one.attributes.get("clarion.notification_id", sent) for one in spans]
    assert set(marked) == {sent}
    routed = [one for one in spans if one.name == "route notification"]
    assert routed[0].attributes["clarion.notification_id"] == sent
    outcomes = {
        one.attributes["clarion.outcome"] for one in spans if one.name.endswith(" send")
    }
    assert outcomes == {"sent"}


async def test_no_span_tells_an_address_or_the_content(stack, collector, person: str):
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    await _send(stack, person, f"00-{trace_id}-{span_id}-01")
    await wait_until(
        lambda: any(s.name == "smtp send" for s in collector.trace(trace_id)), 20
    )
    told = " ".join(
        value
        for span in collector.trace(trace_id)
        for value in span.attributes.values()
    )
    for secret in (f"{person}@people.example", "14155557777", f"fcm-{person}"):
        assert secret not in told
    assert stack.demo_key not in told


async def test_sampled_grpc_send_through_the_sdk_has_the_same_tree(
    stack, collector, person: str
):
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    async with Client(stack.urls["grpc"], stack.demo_key) as client:
        await client.send(
            notification(person, "note", title="x", channels=CHANNELS),
            traceparent=f"00-{trace_id}-{span_id}-01",
        )
    wanted = sum(count for _, count in TREE.values())
    await wait_until(lambda: len(collector.trace(trace_id)) >= wanted, 20)
    assert tree(collector.trace(trace_id), span_id) in TREES


async def test_each_notification_of_a_batch_keeps_the_trace_of_its_caller(
    stack, collector, person: str
):
    traces = [(secrets.token_hex(16), secrets.token_hex(8)) for _ in range(5)]
    async with Client(stack.urls["grpc"], stack.demo_key) as client:
        for trace_id, span_id in traces:
            await client.send(
                notification(person, "note", title="x", channels=["email"]),
                traceparent=f"00-{trace_id}-{span_id}-01",
            )
    wanted = {"route notification", "deliver email", "smtp send"}

    def names(trace_id: str) -> list[str]:
        return [span.name for span in collector.trace(trace_id)]

    for trace_id, _ in traces:
        await wait_until(lambda one=trace_id: wanted <= set(names(one)), 20)
        for name in wanted:
            assert names(trace_id).count(name) == 1


async def test_unsampled_send_leaves_no_span(stack, collector, person: str):
    unsampled, sampled = secrets.token_hex(16), secrets.token_hex(16)
    span_id = secrets.token_hex(8)
    await _send(stack, person, f"00-{unsampled}-{span_id}-00")
    # Sent after it, so whatever the first one left would be there as well.
    await _send(stack, person, f"00-{sampled}-{span_id}-01")
    wanted = sum(count for _, count in TREE.values())
    await wait_until(lambda: len(collector.trace(sampled)) >= wanted, 20)
    assert collector.trace(unsampled) == []


@pytest.mark.parametrize("traceparent", ["", "nonsense", "00-0-0-01"])
async def test_malformed_trace_context_does_not_stop_a_send(
    stack, person: str, traceparent: str
):
    assert await _send(stack, person, traceparent)
