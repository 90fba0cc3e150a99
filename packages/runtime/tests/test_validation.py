"""Violations that name the field and the remedy."""

from __future__ import annotations

import grpc

from clarion.api.inapp.v1.inbox_service_pb2 import GetInboxCountsRequest
from clarion.api.inapp.v1.inbox_service_pb2_grpc import InboxServiceStub
from clarion.api.router.v1.notification_pb2 import Notification
from clarion.api.router.v1.notification_service_pb2 import SendNotificationRequest
from clarion.runtime.testing import refused
from clarion.runtime.validation import violations


async def test_a_request_that_breaks_a_rule_never_reaches_the_servicer(
    server, behaviour
):
    with refused() as refusal:
        await InboxServiceStub(server.channel()).GetInboxCounts(
            GetInboxCountsRequest(user_id="u" * 200)
        )

    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.reason == "INVALID_ARGUMENT"
    assert refusal.fields == {"user_id": "must be at most 128 characters: it has 200"}
    assert refusal.rules == {"user_id": "string.max_len"}
    assert behaviour.calls == 0


def test_a_missing_message_is_named():
    (violation,) = violations(SendNotificationRequest())

    assert violation.field == "notification"
    assert violation.description == "is missing: give a value"


def test_a_rule_over_a_message_is_named_after_its_field():
    request = SendNotificationRequest(notification=Notification(type="order_updates"))

    assert "notification.user_id" in {v.field for v in violations(request)}


def test_a_value_of_a_closed_list_is_told_the_list():
    found = violations(Notification(user_id="u1", type="t", priority="urgent"))

    texts = {v.field: v.description for v in found}
    assert texts["priority"] == "must be one of low, medium, high"


def test_an_item_of_a_batch_is_named_with_its_place():
    item = Notification(user_id="u1", type="t", title="t" * 5000)

    fields = [v.field for v in violations(item, "notifications[3]")]

    assert "notifications[3].title" in fields


def test_the_value_itself_is_never_repeated():
    item = Notification(user_id="secret" * 99, type="secret secret", title="s" * 5000)

    assert all("secret" not in v.description for v in violations(item))
