from __future__ import annotations

import secrets

import aiohttp
import pytest

from clarion.api.recipients.v1.recipient_pb2 import Device, Recipient
from clarion.client import Client, notification
from clarion.runtime.testing import wait_until

CHANNEL = {
    "clarion.deliveries.delivered",
    "clarion.deliveries.failed",
    "clarion.queue.age",
    "clarion.provider.latency",
}
EXPORTED = {
    "clarion-router": {
        "clarion.notifications.accepted",
        "clarion.deliveries.planned",
        "clarion.deliveries.skipped",
        "clarion.queue.age",
    },
    "clarion-push": CHANNEL,
    "clarion-email": CHANNEL,
    "clarion-sms": CHANNEL,
    # Nothing makes the inbox refuse.
    "clarion-inapp": CHANNEL - {"clarion.deliveries.failed"},
    "clarion-tracking": {"clarion.queue.age"},
}
FAILURES = {
    "fcm": {"unregistered": True},
    "smtp": {"code": "550 5.1.1"},
    "twilio": {"code": 21610},
}


async def _everything_once(stack) -> None:
    """One notification that is delivered and one that fails on every channel."""
    user_ids = [f"counted-{secrets.token_hex(4)}" for _ in range(2)]
    people = [
        Recipient(
            user_id=user_id,
            email=f"{user_id}@people.example",
            phone_number=f"+1415555888{number}",
            devices=[Device(platform="android", token=f"fcm-{user_id}")],
        )
        for number, user_id in enumerate(user_ids)
    ]
    failing = people[1]
    addresses = {
        "fcm": failing.devices[0].token,
        "smtp": failing.email,
        "twilio": failing.phone_number,
    }
    rules = [
        {"match": {"provider": name, "recipient": addresses[name]}, "action": action}
        for name, action in FAILURES.items()
    ]
    script = f"{stack.urls['sandbox']}/script"
    async with (
        Client(stack.urls["grpc"], stack.demo_key) as client,
        aiohttp.ClientSession() as http,
    ):
        async with http.put(script, json=rules) as response:
            assert response.status == 200
        await client.put_recipients(people)
        for user_id in (*user_ids, "nobody-known"):
            channels = ["push", "email", "sms", "in_app"]
            await client.send(
                notification(user_id, "note", title="x", channels=channels)
            )


@pytest.mark.parametrize("service", EXPORTED)
async def test_service_exports_its_metrics(stack, collector, service: str):
    wanted = EXPORTED[service]
    if not wanted <= collector.metrics[service]:
        await _everything_once(stack)
    await wait_until(
        lambda: wanted <= collector.metrics[service],
        30,
        what=f"{sorted(wanted)} of {service}, which has "
        f"{sorted(collector.metrics[service])}",
    )
