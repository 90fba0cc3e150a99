"""Readiness as neighbours and probes see it."""

from __future__ import annotations

import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

SERVING = HealthCheckResponse.SERVING
NOT_SERVING = HealthCheckResponse.NOT_SERVING
INBOX = "clarion.api.inapp.v1.InboxService"


@pytest.fixture
def status(server):
    stub = HealthStub(server.channel(None))

    async def ask(name: str = "") -> int:
        answer = await stub.Check(HealthCheckRequest(service=name))
        return answer.status

    return ask


async def test_health_needs_no_credential_and_knows_every_service(status):
    assert await status() == SERVING
    assert await status(INBOX) == SERVING


async def test_one_slow_answer_does_not_take_a_service_out(server, status):
    broken = False

    async def check():
        if broken:
            raise ConnectionError("down")

    server.health.depends_on("database", check)
    await server.health.look()
    broken = True
    await server.health.look()
    after_one = await status()
    await server.health.look()

    assert after_one == SERVING
    assert await status() == await status(INBOX) == NOT_SERVING
    (dependency,) = server.health.dependencies
    assert dependency.problem == "ConnectionError: down"


async def test_a_dependency_that_never_answered_is_not_ready(server, status):
    async def check():
        raise ConnectionError("down")

    server.health.depends_on("database", check)
    await server.health.look()

    assert await status() == NOT_SERVING


async def test_who_watches_reads_not_serving_and_then_the_end(server):
    watch = HealthStub(server.channel(None)).Watch(HealthCheckRequest(service=INBOX))
    changes = aiter(watch)
    first = await anext(changes)

    await server.health.stop()

    assert first.status == SERVING
    assert [change.status async for change in changes] == [NOT_SERVING]


async def test_reflection_lists_the_services_without_a_credential(server):
    call = ServerReflectionStub(server.channel(None)).ServerReflectionInfo(
        iter([ServerReflectionRequest(list_services="")])
    )

    answers = [answer async for answer in call]

    names = {service.name for service in answers[0].list_services_response.service}
    assert {INBOX, "grpc.health.v1.Health"} <= names
