from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import grpc
import pytest

from clarion.api.inapp.v1.inbox_service_pb2 import ListInboxRequest
from clarion.api.inapp.v1.inbox_service_pb2_grpc import InboxServiceStub
from clarion.client.embedded.credentials import write_private


async def test_other_tenant_does_not_see_a_notification(mesh):
    person = await mesh.person()
    sent = await mesh.send(person, "in_app")
    await mesh.has_status(sent, "sent")
    path = f"/api/v1/notifications/{sent}"
    answer = await mesh.rest("GET", path, key=mesh.other_key)
    assert (answer.status, answer.info["reason"]) == (404, "NOT_FOUND")
    listed = await mesh.rest("GET", "/api/v1/notifications", key=mesh.other_key)
    ids = [one["notification_id"] for one in listed.body["notifications"]]
    assert sent not in ids


async def test_other_tenant_does_not_see_a_person_or_an_inbox(mesh):
    person = await mesh.person()
    await mesh.send(person, "in_app")
    await mesh.in_inbox(person.user_id)
    path = f"/api/v1/users/{person.user_id}"
    answer = await mesh.rest("GET", path, key=mesh.other_key)
    assert (answer.status, answer.info["reason"]) == (404, "NOT_FOUND")
    inbox = await mesh.rest("GET", f"{path}/inbox", key=mesh.other_key)
    assert (inbox.status, inbox.body["items"]) == (200, [])
    assert inbox.body["counts"]["total"] == 0


async def test_other_tenant_cannot_cancel_a_notification(mesh):
    person = await mesh.person()
    due = datetime.now(UTC) + timedelta(seconds=1.5)
    sent = await mesh.send(person, "push", scheduled_at=due)
    path = f"/api/v1/notifications/{sent}:cancel"
    await mesh.rest("POST", path, key=mesh.other_key)
    await mesh.arrived(sent)
    await mesh.has_status(sent, "sent")


async def test_other_tenant_cannot_change_a_person(mesh):
    person = await mesh.person()
    path = f"/api/v1/users/{person.user_id}"
    body = {"email": "thief@people.example"}
    stored = await mesh.rest("PUT", path, body, key=mesh.other_key)
    # It is another person who happens to have the same id.
    assert stored.status == 200
    off = {"push_enabled": False}
    await mesh.rest("PUT", f"{path}/preferences", off, key=mesh.other_key)
    mine = await mesh.rest("GET", path)
    assert mine.body["recipient"]["email"] == person.email
    (mail,) = await mesh.arrived(await mesh.send(person, "email"))
    assert mail["recipient"] == person.email
    await mesh.arrived(await mesh.send(person, "push"))


async def test_same_idempotency_key_of_two_tenants_is_two_notifications(mesh):
    person = await mesh.person()
    body = {
        "user_id": person.user_id,
        "type": "note",
        "title": "Hello",
        "idempotency_key": f"shared-{person.user_id}",
    }
    mine = await mesh.rest("POST", "/api/v1/notifications", body)
    theirs = await mesh.rest(
        "POST", "/api/v1/notifications", body | {"title": "Other"}, key=mesh.other_key
    )
    assert (mine.status, theirs.status) == (200, 200)
    assert mine.body["notification_id"] != theirs.body["notification_id"]


async def test_caller_cannot_name_another_tenant_through_the_edge(mesh):
    person = await mesh.person()
    await mesh.send(person, "in_app")
    await mesh.in_inbox(person.user_id)
    path = f"/api/v1/users/{person.user_id}/inbox"
    headers = {"x-clarion-tenant": "demo"}
    answer = await mesh.rest("GET", path, key=mesh.other_key, headers=headers)
    assert (answer.status, answer.body["items"]) == (200, [])


async def test_caller_cannot_name_another_tenant_at_a_service(mesh):
    metadata = [
        ("authorization", f"Bearer {mesh.other_key}"),
        ("x-clarion-tenant", "demo"),
    ]
    async with grpc.aio.insecure_channel(mesh.stack.address("inapp")) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await InboxServiceStub(channel).ListInbox(
                ListInboxRequest(user_id="somebody"), metadata=metadata, timeout=10
            )
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_key_added_while_the_mesh_runs_is_taken_up_and_keeps_its_scopes(mesh):
    key = secrets.token_urlsafe(32)
    path = mesh.stack.credentials.api_keys_file
    document = json.loads(path.read_text())
    digest = sha256(key.encode()).hexdigest()
    scopes = ["inbox:read"]
    document["keys"].append(
        {"id": "reader", "sha256": digest, "tenant": "demo", "scopes": scopes}
    )
    write_private(path, json.dumps(document))

    async def is_known() -> bool:
        answer = await mesh.rest("GET", "/api/v1/users/somebody/inbox", key=key)
        return answer.status == 200

    await mesh.eventually(is_known, what="the new key")
    answer = await mesh.rest(
        "POST", "/api/v1/users/somebody/inbox:mark", {"mark": "read"}, key=key
    )
    assert (answer.status, answer.info["reason"]) == (403, "MISSING_SCOPE")
    assert answer.info["metadata"]["scope"] == "inbox:write"
