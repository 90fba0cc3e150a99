from __future__ import annotations

import io
import struct

import aiohttp
import grpc
import pytest
from google.rpc.status_pb2 import Status
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from clarion.api.router.v1.notification_service_pb2 import (
    SendNotificationRequest,
    SendNotificationResponse,
)
from clarion.client import ApiError, notification
from clarion.client.embedded.environment import SERVICES

SEND = "/clarion.api.router.v1.NotificationService/SendNotification"
SERVED = {
    "router": "clarion.api.router.v1.NotificationService",
    "templating": "clarion.api.templating.v1.TemplateService",
    "ratelimit": "clarion.api.ratelimit.v1.RateLimitService",
    "push": "clarion.api.channel.v1.ChannelService",
    "email": "clarion.api.channel.v1.ChannelService",
    "sms": "clarion.api.channel.v1.WebhookService",
    "inapp": "clarion.api.inapp.v1.InboxService",
    "recipients": "clarion.api.recipients.v1.RecipientService",
    "tracking": "clarion.api.tracking.v1.TrackingService",
}


async def _grpc_web(mesh, request, key: str) -> tuple[bytes, dict[str, str]]:
    """One binary gRPC-Web call: the message and the trailers."""
    body = request.SerializeToString()
    headers = {
        "content-type": "application/grpc-web+proto",
        "x-grpc-web": "1",
        "authorization": f"Bearer {key}",
        "origin": "http://localhost:3000",
    }
    async with mesh.rest.http.post(
        mesh.rest.url + SEND,
        data=b"\0" + struct.pack(">I", len(body)) + body,
        headers=headers,
    ) as response:
        assert response.status == 200
        assert response.headers["access-control-allow-origin"] == headers["origin"]
        content = await response.read()
        trailers = {name.lower(): value for name, value in response.headers.items()}
    message = b""
    while content:
        kind, size = content[0], struct.unpack(">I", content[1:5])[0]
        part, content = content[5 : 5 + size], content[5 + size :]
        if kind & 0x80:
            for line in part.decode().splitlines():
                name, _, value = line.partition(":")
                trailers[name.strip().lower()] = value.strip()
        else:
            message = part
    return message, trailers


async def test_grpc_web_call_through_the_edge_sends(mesh):
    person = await mesh.person()
    wanted = notification(person.user_id, "note", title="Web", channels=["push"])
    request = SendNotificationRequest(notification=wanted)
    message, trailers = await _grpc_web(mesh, request, mesh.rest.key)
    assert trailers["grpc-status"] == "0"
    sent = SendNotificationResponse.FromString(message).notification_id
    await mesh.arrived(sent)


async def test_grpc_web_error_has_its_details(mesh):
    import base64

    request = SendNotificationRequest(notification=notification("", "note", title="x"))
    _, trailers = await _grpc_web(mesh, request, mesh.rest.key)
    assert trailers["grpc-status"] == str(grpc.StatusCode.INVALID_ARGUMENT.value[0])
    details = trailers["grpc-status-details-bin"]
    padded = details + "=" * (-len(details) % 4)
    error = ApiError.of_status(Status.FromString(base64.b64decode(padded)))
    assert [one.field for one in error.violations] == ["notification.user_id"]


async def test_preflight_of_a_browser_is_answered_without_a_credential(mesh):
    async with mesh.rest.http.options(
        f"{mesh.rest.url}/api/v1/notifications",
        headers={
            "origin": "http://localhost:3000",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        },
    ) as response:
        assert response.status == 200
        allowed = response.headers["access-control-allow-headers"]
    assert "authorization" in allowed


async def test_page_of_another_origin_may_read_answers_and_errors(mesh):
    headers = {"origin": "http://localhost:3000"}
    for key, status in ((None, 200), ("not-a-key", 401)):
        answer = await mesh.rest(
            "GET", "/api/v1/users/somebody/inbox", key=key, headers=headers
        )
        assert answer.status == status
        assert answer.headers["access-control-allow-origin"] == headers["origin"]


async def test_page_of_a_strange_origin_may_not_read_answers(mesh):
    headers = {"origin": "https://evil.example"}
    answer = await mesh.rest("GET", "/api/v1/users/somebody/inbox", headers=headers)
    assert "access-control-allow-origin" not in answer.headers


async def test_unknown_service_is_unimplemented_over_grpc(mesh):
    async with grpc.aio.insecure_channel(mesh.stack.urls["grpc"]) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/clarion.api.nothing.v1.X/Y")(b"", timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_edge_refuses_no_health_check_without_a_credential(mesh):
    async with grpc.aio.insecure_channel(mesh.stack.urls["grpc"]) as channel:
        answer = await HealthStub(channel).Check(HealthCheckRequest(), timeout=10)
    assert answer.status == HealthCheckResponse.SERVING


@pytest.mark.parametrize("service", SERVICES)
async def test_service_answers_health_and_reflection_without_a_credential(
    mesh, service: str
):
    async with grpc.aio.insecure_channel(mesh.stack.address(service)) as channel:
        for name in ("", SERVED[service]):
            answer = await HealthStub(channel).Check(
                HealthCheckRequest(service=name), timeout=10
            )
            assert answer.status == HealthCheckResponse.SERVING
        call = ServerReflectionStub(channel).ServerReflectionInfo(timeout=10)
        await call.write(ServerReflectionRequest(list_services=""))
        await call.done_writing()
        listed = [one async for one in call]
    names = {one.name for one in listed[0].list_services_response.service}
    assert {SERVED[service], "grpc.health.v1.Health"} <= names


@pytest.mark.parametrize("service", SERVICES)
async def test_service_refuses_calls_without_a_credential(mesh, service: str):
    method = {
        "router": "SendNotification",
        "templating": "ListTemplates",
        "ratelimit": "ListPolicies",
        "push": "DescribeChannel",
        "email": "DescribeChannel",
        "sms": "DescribeChannel",
        "inapp": "ListInbox",
        "recipients": "GetRecipient",
        "tracking": "ListNotifications",
    }[service]
    name = SERVED[service].replace("WebhookService", "ChannelService")
    async with grpc.aio.insecure_channel(mesh.stack.address(service)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"/{name}/{method}")(b"", timeout=10)
    error = ApiError.of_call(caught.value)
    assert error.code is grpc.StatusCode.UNAUTHENTICATED
    assert error.reason == "MISSING_CREDENTIAL"


async def test_internal_calls_are_refused_to_a_tenants_key(mesh):
    path = "/clarion.api.recipients.v1.RecipientService/BatchGetRecipients"
    metadata = [("authorization", f"Bearer {mesh.rest.key}")]
    async with grpc.aio.insecure_channel(mesh.stack.urls["grpc"]) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(path)(b"", metadata=metadata, timeout=10)
    assert ApiError.of_call(caught.value).reason == "MISSING_SCOPE"


async def test_forged_webhook_is_refused(mesh):
    form = aiohttp.FormData({"MessageSid": "SM1", "MessageStatus": "delivered"})
    url = f"{mesh.rest.url}/webhooks/sms/twilio?tenant=demo&notification_id=1"
    headers = {"x-twilio-signature": "AAAA"}
    async with mesh.rest.http.post(url, data=form, headers=headers) as response:
        body = await response.json()
    assert (response.status, body["details"][0]["reason"]) == (403, "INVALID_SIGNATURE")


@pytest.mark.parametrize(
    ("method", "path", "size", "expected"),
    [
        ("GET", "/webhooks/sms/twilio", 0, (405, "NOT_IMPLEMENTED")),
        ("POST", "/webhooks/sms/another", 0, (404, "NOT_FOUND")),
        ("POST", "/webhooks/sms/twilio/more", 0, (404, "NOT_FOUND")),
        ("POST", "/webhooks/sms/twilio", 2**20 + 1, (413, "REQUEST_TOO_LARGE")),
    ],
)
async def test_what_is_no_webhook_is_refused_in_the_common_shape(
    mesh, method, path, size, expected
):
    url, body = f"{mesh.rest.url}{path}", io.BytesIO(b"x" * size)
    async with mesh.rest.http.request(method, url, data=body) as response:
        problem = await response.json()
    assert (response.status, problem["details"][0]["reason"]) == expected
