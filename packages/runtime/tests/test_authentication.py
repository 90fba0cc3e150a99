"""Who may call what."""

from __future__ import annotations

import grpc
import pytest

from clarion.api.channel.v1.link_service_pb2 import FollowLinkRequest
from clarion.api.channel.v1.link_service_pb2_grpc import LinkServiceStub
from clarion.api.inapp.v1.inbox_service_pb2 import (
    GetInboxCountsRequest,
    WatchInboxRequest,
)
from clarion.api.inapp.v1.inbox_service_pb2_grpc import InboxServiceStub
from clarion.api.ratelimit.v1.rate_limit_service_pb2 import BatchAcquireRequest
from clarion.api.ratelimit.v1.rate_limit_service_pb2_grpc import RateLimitServiceStub
from clarion.runtime.caller import as_tenant, current_caller
from clarion.runtime.errors import UnauthenticatedError
from clarion.runtime.testing import INTERNAL_KEY, TENANT_KEY, refused

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
DENIED = grpc.StatusCode.PERMISSION_DENIED
COUNTS = GetInboxCountsRequest(user_id="u1")


@pytest.mark.parametrize(
    ("key", "tenant", "code", "reason"),
    [
        (None, None, UNAUTHENTICATED, "MISSING_CREDENTIAL"),
        ("unknown", None, UNAUTHENTICATED, "INVALID_CREDENTIAL"),
        (INTERNAL_KEY, None, UNAUTHENTICATED, "MISSING_TENANT"),
        (INTERNAL_KEY, "No Tenant", UNAUTHENTICATED, "MISSING_TENANT"),
        ("writer-key", None, DENIED, "MISSING_SCOPE"),
        (TENANT_KEY, "other", DENIED, "MISSING_SCOPE"),
    ],
)
async def test_a_call_without_a_right_credential_is_refused(
    server, behaviour, key, tenant, code, reason
):
    with refused() as refusal:
        await InboxServiceStub(server.channel(key, tenant)).GetInboxCounts(COUNTS)

    assert (refusal.code, refusal.reason) == (code, reason)
    assert refusal.domain == "clarion"
    assert behaviour.calls == 0


async def test_a_stream_without_a_credential_is_refused(server):
    stub = InboxServiceStub(server.channel(None))

    with refused() as refusal:
        async for _ in stub.WatchInbox(WatchInboxRequest(user_id="u1")):
            pass

    assert refusal.reason == "MISSING_CREDENTIAL"


async def test_a_refusal_for_the_scope_names_it(server):
    with refused() as refusal:
        await InboxServiceStub(server.channel("writer-key")).GetInboxCounts(COUNTS)

    assert refusal.metadata == {"scope": "inbox:read"}


async def test_a_credential_that_is_no_bearer_token_is_refused(server):
    call = InboxServiceStub(server.channel(None)).GetInboxCounts

    with refused() as refusal:
        await call(COUNTS, metadata=(("authorization", "Basic abc"),))

    assert refusal.reason == "MISSING_CREDENTIAL"


async def test_every_public_scope_does_not_include_internal(server):
    with refused() as refusal:
        await RateLimitServiceStub(server.channel()).BatchAcquire(BatchAcquireRequest())

    assert (refusal.code, refusal.metadata) == (DENIED, {"scope": "internal"})


async def test_the_caller_is_known_inside_the_rpc(server, behaviour):
    seen = []

    async def look():
        seen.append(current_caller())

    behaviour.run = look
    await InboxServiceStub(server.channel()).GetInboxCounts(COUNTS)
    await RateLimitServiceStub(server.internal("acme")).BatchAcquire(
        BatchAcquireRequest()
    )

    assert [caller.tenant for caller in seen] == ["demo", "acme"]


async def test_a_public_rpc_needs_no_credential_and_has_no_caller(server, behaviour):
    seen = []

    async def look():
        with pytest.raises(UnauthenticatedError):
            current_caller()
        seen.append("no caller")

    behaviour.run = look
    await LinkServiceStub(server.channel(None)).FollowLink(FollowLinkRequest(token="t"))

    assert seen == ["no caller"]


def test_there_is_no_caller_outside_an_rpc():
    with pytest.raises(UnauthenticatedError):
        current_caller()


def test_what_cannot_be_a_tenant_is_refused():
    with pytest.raises(ValueError, match="not a tenant"), as_tenant("a b"):
        pass
