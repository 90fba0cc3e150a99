"""The wiring of the rate limiter."""

from __future__ import annotations

from clarion.api.ratelimit.v1 import rate_limit_service_pb2 as pb
from clarion.api.ratelimit.v1 import rate_limit_service_pb2_grpc as rpc
from clarion.ratelimit.limiting import RateLimiter
from clarion.ratelimit.servicer import RateLimitServicer
from clarion.ratelimit.settings import Settings
from clarion.ratelimit.valkey.permit_store import ValkeyPermitStore
from clarion.ratelimit.valkey.policy_store import ValkeyPolicyStore
from clarion.runtime.clock import SystemClock
from clarion.runtime.service import Service


async def build(service: Service, settings: Settings) -> None:
    """Serves RateLimitService from Valkey."""
    redis = await service.redis()
    limiter = RateLimiter(
        ValkeyPermitStore(redis, chunk=settings.ratelimit_chunk),
        ValkeyPolicyStore(redis),
        SystemClock(),
        policy_ttl=settings.ratelimit_policy_cache,
    )
    service.add_servicer(
        rpc.add_RateLimitServiceServicer_to_server,
        RateLimitServicer(limiter),
        pb.DESCRIPTOR.services_by_name["RateLimitService"].full_name,
    )
