from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from clarion.api.channel.v1 import channel_service_pb2, channel_service_pb2_grpc
from clarion.api.ratelimit.v1 import (
    rate_limit_service_pb2,
    rate_limit_service_pb2_grpc,
)
from clarion.api.tracking.v1 import health_service_pb2 as pb2
from clarion.api.tracking.v1 import health_service_pb2_grpc as pb2_grpc
from clarion.client.embedded.servers import NatsServer
from clarion.runtime.caller import current_caller
from clarion.runtime.channel import open_channel
from clarion.runtime.clock import SystemClock
from clarion.runtime.errors import UnavailableError
from clarion.runtime.jetstream import Streams
from clarion.runtime.testing import serve
from clarion.tracking import health
from clarion.tracking.health import Finding
from clarion.tracking.health_checks import HealthChecks, Probes
from clarion.tracking.health_servicer import HealthServicer

QUICK = timedelta(milliseconds=5)

PROVIDERS = [
    ({"push": {"fcm": "healthy"}}, "healthy", ""),
    ({"push": {"fcm": "degraded"}}, "degraded", "push fcm is degraded"),
    ({"push": {"fcm": "down", "apns": "healthy"}}, "degraded", "push fcm is down"),
    ({"push": {"fcm": "down"}, "sms": {"twilio": "healthy"}}, "degraded", "push fcm"),
    ({"push": {"fcm": "down"}, "sms": None}, "unhealthy", "sms does not answer"),
    ({"push": None, "sms": {"twilio": "healthy"}}, "degraded", "push does not answer"),
    ({"push": {}}, "healthy", ""),
    ({}, "healthy", ""),
]


@pytest.mark.parametrize(("channels", "status", "detail"), PROVIDERS)
def test_providers_make_one_check(channels, status, detail):
    found = health.by_providers(channels, QUICK)
    assert found.status == status
    assert detail in found.detail


def test_thresholds_are_those_of_the_contract():
    assert health.by_latency(timedelta(milliseconds=100)).status == "healthy"
    assert health.by_latency(timedelta(milliseconds=101)).status == "degraded"
    assert health.by_depth(10_000, QUICK).status == "healthy"
    assert health.by_depth(10_001, QUICK).status == "degraded"


def test_the_worst_check_is_the_whole():
    assert health.worst(["healthy", "unhealthy", "degraded"]) == "unhealthy"
    assert health.worst([]) == "healthy"


async def test_a_check_that_fails_or_hangs_stands_for_itself(clock):
    async def hangs() -> Finding:
        await asyncio.Event().wait()
        raise AssertionError

    async def fails() -> Finding:
        raise UnavailableError

    async def breaks() -> Finding:
        raise RuntimeError

    async def works() -> Finding:
        return Finding("healthy")

    checks = HealthChecks(
        {"a": hangs, "b": fails, "c": breaks, "d": works}, clock, limit=QUICK
    )
    found = await checks.findings()
    assert [found[name].status for name in "abcd"] == [*["unhealthy"] * 3, "healthy"]
    assert "no answer within" in found["a"].detail


async def test_findings_are_good_for_a_second(clock):
    runs = 0

    async def counts() -> Finding:
        nonlocal runs
        runs += 1
        return Finding("healthy")

    checks = HealthChecks({"a": counts}, clock)
    await asyncio.gather(*(checks.findings() for _ in range(20)))
    assert runs == 1
    clock.advance(timedelta(seconds=1))
    await checks.findings()
    assert runs == 2


class Channel(channel_service_pb2_grpc.ChannelServiceServicer):
    """A channel that knows for whom it is asked."""

    def __init__(self) -> None:
        self.tenants: list[str] = []

    async def DescribeChannel(self, request, context):
        self.tenants.append(current_caller().tenant)
        response = channel_service_pb2.DescribeChannelResponse(channel="push")
        response.providers.add(provider="fcm", state="healthy")
        return response


class Limiter(rate_limit_service_pb2_grpc.RateLimitServiceServicer):
    """A rate limiter whose store is there or not."""

    error: Exception | None = None

    async def ListPolicies(self, request, context):
        if self.error is not None:
            raise self.error
        return rate_limit_service_pb2.ListPoliciesResponse()


@pytest.mark.integration
async def test_a_rate_limiter_that_cannot_count_is_unhealthy(pool, streams, clock):
    limiter = Limiter()
    add = rate_limit_service_pb2_grpc.add_RateLimitServiceServicer_to_server
    async with serve((add, limiter)) as neighbour:
        probes = Probes(pool, streams.js, {}, neighbour.mesh(), clock)
        limiter.error = UnavailableError()
        checks = HealthChecks({"rate_limiter": probes.rate_limiter}, clock)
        found = await checks.findings()
        assert found["rate_limiter"].status == "unhealthy"


@pytest.mark.integration
async def test_the_mesh_is_asked_for_its_health_without_a_credential(pool, streams):
    push = Channel()
    clock = SystemClock()
    add = channel_service_pb2_grpc.add_ChannelServiceServicer_to_server
    limits = rate_limit_service_pb2_grpc.add_RateLimitServiceServicer_to_server
    async with serve((add, push), (limits, Limiter())) as neighbour:
        for number in range(3):
            await streams.publisher.publish(
                "work.push.high", b"x", message_id=f"m{number}"
            )
        probes = Probes(
            pool, streams.js, {"push": neighbour.mesh()}, neighbour.mesh(), clock
        )
        servicer = HealthServicer(HealthChecks(probes.checks(), clock))
        async with serve(
            (pb2_grpc.add_HealthServiceServicer_to_server, servicer)
        ) as server:
            stub = pb2_grpc.HealthServiceStub(server.channel(key=None))
            async with asyncio.timeout(10):
                # Whoever connects on a busy machine answers slowly at first.
                while True:
                    push.tenants.clear()
                    answer = await stub.GetHealth(pb2.GetHealthRequest())
                    if answer.status == "healthy":
                        break
        assert set(answer.checks) == {"database", "queue", "provider", "rate_limiter"}
        assert answer.checks["queue"].depth == 3
        assert answer.checks["provider"].status == "healthy", answer
        assert answer.checks["rate_limiter"].status == "healthy", answer
        assert answer.checks["database"].latency_seconds > 0
        assert push.tenants == ["system"]


@pytest.mark.integration
async def test_a_mesh_with_everything_down_still_answers(pool, tmp_path):
    clock = SystemClock()
    gone = open_channel("127.0.0.1:1", key=None)
    async with NatsServer(tmp_path) as nats:
        streams = await Streams.connect(nats.url)
        await nats.kill()
        await pool.close()
        probes = Probes(pool, streams.js, {"push": gone}, gone, clock)
        checks = HealthChecks(probes.checks(), clock)
        async with asyncio.timeout(3):
            found = await checks.findings()
        assert {finding.status for finding in found.values()} == {"unhealthy"}
        await nats.start()
        await streams.wait_connected(5)
        await streams.close()
    await gone.close()
