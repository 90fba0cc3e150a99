from __future__ import annotations

from collections import Counter

from clarion.api.router.v1.notification_service_pb2 import (
    BatchSendNotificationsRequest,
)
from clarion.client.bench.people import has_inbox, user_id
from clarion.client.bench.report import plot, table
from clarion.client.bench.traffic import TEMPLATE, Traffic


def test_a_batch_is_a_request_of_the_contract() -> None:
    body, deliveries = Traffic(1000).batch(500)
    sent = BatchSendNotificationsRequest.FromString(body).notifications
    assert len(sent) == 500
    assert {one.template_id for one in sent} == {TEMPLATE}
    assert len(sent[0].data["items"]) == 3
    channels = Counter(channel for one in sent for channel in one.channels)
    assert channels == {"push": 350, "email": 100, "sms": 50, "in_app": 100}
    refused = sum(
        "in_app" in one.channels and not has_inbox(int(one.user_id[-8:]))
        for one in sent
    )
    assert deliveries == 600 - refused
    assert Counter(one.priority for one in sent).keys() == {"high", "medium", "low"}


def test_batches_go_to_everybody_in_turn() -> None:
    traffic = Traffic(100)
    sent = BatchSendNotificationsRequest.FromString(traffic.batch(100)[0])
    assert {one.user_id for one in sent.notifications} == set(map(user_id, range(100)))


def test_a_report_draws_what_it_has() -> None:
    assert table("process", {"us": {"router": 2.0, "push": 1.0}})[1].endswith("█" * 24)
    assert plot("queue", [0, 4, 8]).endswith(" ▄█  most 8")
    assert "no samples" in plot("queue", [])
