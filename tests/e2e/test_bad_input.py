"""One row for each class of bad input, over REST and over gRPC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from clarion.api.inapp.v1.inbox_service_pb2 import (
    ListInboxRequest,
    MarkInboxItemsRequest,
)
from clarion.api.recipients.v1.recipient_pb2 import Recipient
from clarion.api.recipients.v1.recipient_service_pb2 import (
    PutRecipientRequest,
)
from clarion.api.router.v1.notification_pb2 import Notification
from clarion.api.router.v1.notification_service_pb2 import (
    BatchSendNotificationsRequest,
    CancelNotificationRequest,
    SendNotificationRequest,
)
from clarion.client import ApiError

SEND = "/clarion.api.router.v1.NotificationService/SendNotification"
BULK = "/clarion.api.router.v1.NotificationService/BatchSendNotifications"
CANCEL = "/clarion.api.router.v1.NotificationService/CancelNotification"
LIST = "/clarion.api.inapp.v1.InboxService/ListInbox"
MARK = "/clarion.api.inapp.v1.InboxService/MarkInboxItems"
PUT = "/clarion.api.recipients.v1.RecipientService/PutRecipient"

NOTIFICATIONS = "/api/v1/notifications"
GOOD: Mapping[str, Any] = {"user_id": "somebody", "type": "note", "title": "Hello"}
MEGABYTE = "x" * (1 << 20)
SOME_ID = "018f0000-0000-7000-8000-000000000000"
C = grpc.StatusCode
NO_KEY, WRONG_KEY = "", "not-a-key"


@dataclass(frozen=True)
class Rest:
    """A wrong request over REST, and what must be answered."""

    status: int
    code: grpc.StatusCode
    reason: str
    field: str = ""
    body: object = None
    verb: str = "POST"
    path: str = NOTIFICATIONS
    raw: bytes | None = None
    key: str | None = None
    says: str = ""
    """What the message must contain, where the edge itself names the culprit there."""


@dataclass(frozen=True)
class Grpc:
    """The same over gRPC."""

    code: grpc.StatusCode
    reason: str
    field: str = ""
    request: Any = None
    method: str = SEND
    raw: bytes | None = None
    key: str | None = None


def bad(field: str = "", body: object = None, **more: Any) -> Rest:
    return Rest(400, C.INVALID_ARGUMENT, "INVALID_ARGUMENT", field, body, **more)


def bad_call(field: str, request: Any, **more: Any) -> Grpc:
    return Grpc(C.INVALID_ARGUMENT, "INVALID_ARGUMENT", field, request, **more)


def send(**changes: Any) -> SendNotificationRequest:
    notification = Notification(
        **(GOOD | {k: v for k, v in changes.items() if k != "data"})
    )
    if "data" in changes:
        notification.data.update(changes["data"])
    return SendNotificationRequest(notification=notification)


REST_ROWS = {
    "missing user": bad("user_id", {"type": "note", "title": "Hello"}),
    "missing type": bad("type", {"user_id": "somebody", "title": "Hello"}),
    "missing content": bad("title", {"user_id": "somebody", "type": "note"}),
    "unknown channel": bad("channels[1]", GOOD | {"channels": ["push", "fax"]}),
    "unknown priority": bad("priority", GOOD | {"priority": "urgent"}),
    "malformed time": bad("scheduled_at", GOOD | {"scheduled_at": "tomorrow"}),
    "time without zone": bad(
        "scheduled_at", GOOD | {"scheduled_at": "2030-01-15T10:30:00"}
    ),
    "over-long title": bad("title", GOOD | {"title": "x" * 257}),
    "1 MB of data": bad("data", GOOD | {"data": {"x": MEGABYTE}}),
    "1 MB of text": bad("message", GOOD | {"message": MEGABYTE}),
    "5 MB": Rest(
        413,
        C.RESOURCE_EXHAUSTED,
        "REQUEST_TOO_LARGE",
        body=GOOD | {"message": MEGABYTE * 5},
    ),
    "wrong type": bad("title", GOOD | {"title": 5}),
    "wrong type in a list": bad("channels[0]", GOOD | {"channels": [5]}),
    "misspelt field": bad("titel", GOOD | {"titel": "Hello"}),
    "misspelt field in a list": bad(
        "notifications[1].titel",
        {"notifications": [GOOD, GOOD | {"titel": "Hello"}]},
        path=f"{NOTIFICATIONS}/bulk",
    ),
    "no credential": Rest(
        401, C.UNAUTHENTICATED, "MISSING_CREDENTIAL", body=GOOD, key=NO_KEY
    ),
    "wrong key": Rest(
        401, C.UNAUTHENTICATED, "INVALID_CREDENTIAL", body=GOOD, key=WRONG_KEY
    ),
    "unknown path": Rest(
        404,
        C.NOT_FOUND,
        "NOT_FOUND",
        verb="GET",
        path="/api/v1/nothing",
        says="/nothing",
    ),
    "unknown verb": Rest(404, C.NOT_FOUND, "NOT_FOUND", verb="PUT", body=GOOD),
    "less than nothing": bad(
        'frequency_limits["promotional"].daily',
        {"frequency_limits": {"promotional": {"daily": -1}}},
        verb="PUT",
        path="/api/v1/users/somebody/preferences",
    ),
    "more than a number can be": bad(
        "daily",
        {"daily": 4294967296},
        verb="PUT",
        path="/api/v1/limits/promotional",
    ),
    "consent that says nothing": bad(
        "granted", {"source": "form"}, path="/api/v1/users/somebody/consents"
    ),
    "unknown query parameter": bad(
        "colour", verb="GET", path="/api/v1/users/somebody/inbox?colour=red"
    ),
    "wrong type in the query": bad(
        "page_size", verb="GET", path="/api/v1/users/somebody/inbox?page_size=few"
    ),
    "path and query name two people": bad(
        "user_id", verb="GET", path="/api/v1/users/somebody/inbox?user_id=another"
    ),
    "wrong page token": Rest(
        400,
        C.INVALID_ARGUMENT,
        "INVALID_PAGE_TOKEN",
        "page_token",
        verb="GET",
        path="/api/v1/users/somebody/inbox?page_token=x",
    ),
    "broken JSON": bad("user_id", raw=b'{"user_id": '),
    "JSON that is no object": bad("", raw=b"[]", says="object"),
    "malformed id in the path": bad(
        "notification_id", {}, path=f"{NOTIFICATIONS}/abc:cancel"
    ),
    "path and body collide": bad(
        "notification_id",
        {"notification_id": SOME_ID},
        path=f"{NOTIFICATIONS}/{SOME_ID}:cancel",
    ),
    "path and body name two people": bad(
        "user_id",
        {"user_id": "another", "email": "another@people.example"},
        verb="PUT",
        path="/api/v1/users/somebody",
    ),
}

GRPC_ROWS = {
    "missing user": bad_call("notification.user_id", send(user_id="")),
    "missing type": bad_call("notification.type", send(type="")),
    "missing content": bad_call("notification.title", send(title="")),
    "missing notification": bad_call("notification", SendNotificationRequest()),
    "unknown channel": bad_call(
        "notification.channels[1]", send(channels=["push", "fax"])
    ),
    "unknown priority": bad_call("notification.priority", send(priority="urgent")),
    "malformed time": bad_call(
        "notification.scheduled_at", send(scheduled_at=Timestamp(nanos=-5))
    ),
    "over-long title": bad_call("notification.title", send(title="x" * 257)),
    "1 MB of data": bad_call("notification.data", send(data={"x": MEGABYTE})),
    "1 MB of text": bad_call("notification.message", send(message=MEGABYTE)),
    "5 MB": Grpc(C.RESOURCE_EXHAUSTED, "", request=send(message=MEGABYTE * 5)),
    "empty list": bad_call(
        "notifications", BatchSendNotificationsRequest(), method=BULK
    ),
    "undecodable request": Grpc(
        C.INVALID_ARGUMENT, "INVALID_ARGUMENT", raw=b"\xff\xff\xff"
    ),
    "no credential": Grpc(
        C.UNAUTHENTICATED, "MISSING_CREDENTIAL", request=send(), key=NO_KEY
    ),
    "wrong key": Grpc(
        C.UNAUTHENTICATED, "INVALID_CREDENTIAL", request=send(), key=WRONG_KEY
    ),
    "unknown method": Grpc(
        C.UNIMPLEMENTED, "", raw=b"", method=SEND.replace("Send", "Sent")
    ),
    "wrong page token": Grpc(
        C.INVALID_ARGUMENT,
        "INVALID_PAGE_TOKEN",
        "page_token",
        ListInboxRequest(user_id="somebody", page_token="x"),
        LIST,
    ),
    "page too large": bad_call(
        "page_size", ListInboxRequest(user_id="somebody", page_size=501), method=LIST
    ),
    "unknown mark": bad_call(
        "mark", MarkInboxItemsRequest(user_id="somebody", mark="liked"), method=MARK
    ),
    "malformed id": bad_call(
        "notification_id",
        CancelNotificationRequest(notification_id="abc"),
        method=CANCEL,
    ),
    "two people in one request": bad_call(
        "recipient.user_id",
        PutRecipientRequest(user_id="somebody", recipient=Recipient(user_id="other")),
        method=PUT,
    ),
}


@pytest.mark.parametrize("row", REST_ROWS.values(), ids=REST_ROWS)
async def test_bad_rest_request_gets_a_typed_error(mesh, row: Rest):
    answer = await mesh.rest(row.verb, row.path, row.body, raw=row.raw, key=row.key)
    assert answer.status == row.status, answer.text[:500]
    assert answer.headers["content-type"].startswith("application/json")
    assert set(answer.body) == {"code", "message", "details"}
    assert answer.body["code"] == row.code.value[0]
    assert (answer.info["reason"], answer.info["domain"]) == (row.reason, "clarion")
    assert answer.body["message"]
    if row.field:
        assert answer.fields == [row.field]
    assert row.says in answer.body["message"]


@pytest.mark.parametrize("row", GRPC_ROWS.values(), ids=GRPC_ROWS)
async def test_bad_grpc_request_gets_a_typed_error(mesh, row: Grpc):
    key = mesh.rest.key if row.key is None else row.key
    metadata = [("authorization", f"Bearer {key}")] if key else []
    async with grpc.aio.insecure_channel(mesh.stack.urls["grpc"]) as channel:
        call = channel.unary_unary(row.method)
        body = row.request.SerializeToString() if row.raw is None else row.raw
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(body, metadata=metadata, timeout=10)
    error = ApiError.of_call(caught.value)
    assert (error.code, error.reason) == (row.code, row.reason), error
    assert str(error)
    if row.field:
        assert [violation.field for violation in error.violations] == [row.field]
        assert all(violation.description for violation in error.violations)


async def test_error_does_not_repeat_what_was_sent(mesh):
    secret = "x" * 300 + "SECRET"
    answer = await mesh.rest("POST", NOTIFICATIONS, GOOD | {"title": secret})
    assert answer.status == 400
    assert "SECRET" not in answer.text


async def test_all_wrong_fields_are_named_at_once(mesh):
    wrong = GOOD | {"title": "x" * 300, "priority": "urgent", "channels": ["FAX!"]}
    answer = await mesh.rest("POST", NOTIFICATIONS, wrong)
    assert set(answer.fields) == {"title", "priority", "channels[0]"}
