"""The wiring of the rate limiter."""

from __future__ import annotations

from clarion.api.ratelimit.v1 import rate_limit_service_pb2 as pb
from clarion.api.ratelimit.v1 import rate_limit_service_pb2_grpc as rpc
from clarion.ratelimit.limiting import RateLimiter
from clarion.ratelimit.servicer import RateLimitServicer
from clarion.ratelimit.settings import Settings
from clarion.ratelimit.valkey.permit_store import ValkeyPermitStore
from clarion.ratelimit.valkey.policy_store import ValkeyPolicyStore
from clarion.ratelimit.valkey.type_windows import ValkeyTypeWindows
from clarion.runtime.clock import SystemClock
from clarion.runtime.service import Service
from clarion.runtime.valkey import open_client


async def build(service: Service, settings: Settings) -> None:
    """Serves RateLimitService from Valkey."""
    # Not service.redis(): readiness would depend on it, and nobody would be told any
    # more what on_failure says while Valkey is down.
    redis = open_client(service.settings.url("redis"))
    service.on_close(redis.aclose)
    limiter = RateLimiter(
        ValkeyPermitStore(redis, chunk=settings.ratelimit_chunk),
        ValkeyPolicyStore(redis),
        SystemClock(),
        types=ValkeyTypeWindows(redis),
        policy_ttl=settings.ratelimit_policy_cache,
        patience=settings.ratelimit_patience,
    )
    service.add_servicer(
        rpc.add_RateLimitServiceServicer_to_server,
        RateLimitServicer(limiter),
        pb.DESCRIPTOR.services_by_name["RateLimitService"].full_name,
    )
