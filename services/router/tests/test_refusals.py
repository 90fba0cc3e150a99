from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import BadRequest

from clarion.api.router.v1.notification_pb2 import Notification
from clarion.api.router.v1.notification_service_pb2 import (
    BatchSendNotificationsRequest,
    CancelNotificationRequest,
    SendNotificationRequest,
)
from clarion.api.router.v1.notification_service_pb2_grpc import NotificationServiceStub
from clarion.runtime.testing import INTERNAL_KEY, refused

SOON = datetime.now(UTC) + timedelta(days=1)

BAD: tuple[tuple[dict[str, Any], str], ...] = (
    ({"user_id": ""}, "user_id"),
    ({"user_id": "a b"}, "user_id"),
    ({"user_id": "x" * 129}, "user_id"),
    ({"type": ""}, "type"),
    ({"type": "1st order!"}, "type"),
    ({"channels": ["push", "fax"]}, "channels[1]"),
    ({"channels": ["Push"]}, "channels[0]"),
    ({"channels": ["push", "push"]}, "channels"),
    ({"title": ""}, "title"),
    ({"title": "x" * 257}, "title"),
    ({"message": "x" * 8193}, "message"),
    ({"priority": "urgent"}, "priority"),
    ({"template_id": "a/b"}, "template_id"),
    ({"idempotency_key": "k" * 256}, "idempotency_key"),
    ({"locale": "german please"}, "locale"),
    ({"strategy": "some"}, "strategy"),
    ({"tags": {"t": "x" * 257}}, 'tags["t"]'),
    ({"data": {"blob": "x" * 65_536}}, "data"),
    ({"data": {"n": float("nan")}}, "data"),
    ({"expires_at": SOON, "scheduled_at": SOON}, "expires_at"),
    ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "expires_at"),
    ({"scheduled_at": SOON + timedelta(days=9999)}, "scheduled_at"),
    ({"scheduled_at": Timestamp(seconds=10**15)}, "scheduled_at"),
    ({"scheduled_at": Timestamp(nanos=-1)}, "scheduled_at"),
)


async def test_every_bad_input_is_refused_and_names_its_field(
    router: Any, notify: Any
) -> None:
    for fields, field in BAD:
        request = SendNotificationRequest(notification=notify(**fields))
        with refused() as refusal:
            await router.stub.SendNotification(request)
        assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT, fields
        assert refusal.reason == "INVALID_ARGUMENT"
        assert list(refusal.fields) == [f"notification.{field}"]


async def test_a_batch_names_the_item_as_well(router: Any, notify: Any) -> None:
    response = await router.stub.BatchSendNotifications(
        BatchSendNotificationsRequest(
            notifications=[notify(**fields) for fields, _ in BAD]
        )
    )
    assert response.rejected == len(BAD)
    for (_, field), result in zip(BAD, response.results, strict=True):
        bad = BadRequest()
        assert any(detail.Unpack(bad) for detail in result.error.details)
        named = [violation.field for violation in bad.field_violations]
        assert named == [f"notifications[{result.index}].{field}"]


async def test_a_rest_caller_sees_the_field_of_the_body(router: Any) -> None:
    with refused() as refusal:
        await router.stub.SendNotification(
            SendNotificationRequest(notification=Notification(type="t", title="x")),
            metadata=(("x-envoy-original-path", "/api/v1/notifications"),),
        )
    assert list(refusal.fields) == ["user_id"]


async def test_an_absent_notification_is_refused(router: Any) -> None:
    with refused() as refusal:
        await router.stub.SendNotification(SendNotificationRequest())
    assert list(refusal.fields) == ["notification"]


@pytest.mark.parametrize("count", [0, 1001])
async def test_a_batch_has_one_to_a_thousand(
    count: int, router: Any, notify: Any
) -> None:
    request = BatchSendNotificationsRequest(notifications=[notify()] * count)
    with refused() as refusal:
        await router.stub.BatchSendNotifications(request)
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert list(refusal.fields) == ["notifications"]


async def test_a_cancel_names_a_uuid(router: Any) -> None:
    with refused() as refusal:
        await router.stub.CancelNotification(
            CancelNotificationRequest(notification_id="42")
        )
    assert list(refusal.fields) == ["notification_id"]


@pytest.mark.parametrize(
    ("key", "tenant", "code", "reason"),
    [
        (None, None, grpc.StatusCode.UNAUTHENTICATED, "MISSING_CREDENTIAL"),
        ("wrong", None, grpc.StatusCode.UNAUTHENTICATED, "INVALID_CREDENTIAL"),
        (INTERNAL_KEY, None, grpc.StatusCode.UNAUTHENTICATED, "MISSING_TENANT"),
        ("read-only-key", None, grpc.StatusCode.PERMISSION_DENIED, "MISSING_SCOPE"),
    ],
)
async def test_who_may_not_send_is_refused(
    key: str | None,
    tenant: str | None,
    code: Any,
    reason: str,
    router: Any,
    notify: Any,
) -> None:
    stub = NotificationServiceStub(router.harness.channel(key, tenant))
    with refused() as refusal:
        await stub.SendNotification(SendNotificationRequest(notification=notify()))
    assert (refusal.code, refusal.reason) == (code, reason)


async def test_a_key_with_another_body_is_a_conflict(router: Any, notify: Any) -> None:
    keyed = notify(idempotency_key="k")
    await router.stub.SendNotification(SendNotificationRequest(notification=keyed))
    keyed.title = "Other"
    with refused() as refusal:
        await router.stub.SendNotification(SendNotificationRequest(notification=keyed))
    assert refusal.code is grpc.StatusCode.ALREADY_EXISTS
    assert refusal.reason == "IDEMPOTENCY_KEY_REUSED"
    assert refusal.metadata["idempotency_key"] == "k"
