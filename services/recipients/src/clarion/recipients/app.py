"""The whole wiring of the recipients service."""

from __future__ import annotations

from typing import Any, cast

from clarion.api.recipients.v1.consent_service_pb2_grpc import (
    add_ConsentServiceServicer_to_server,
)
from clarion.api.recipients.v1.preference_service_pb2_grpc import (
    add_PreferenceServiceServicer_to_server,
)
from clarion.api.recipients.v1.recipient_service_pb2_grpc import (
    add_RecipientServiceServicer_to_server,
)
from clarion.api.recipients.v1.topic_service_pb2_grpc import (
    add_TopicServiceServicer_to_server,
)
from clarion.recipients.announcing import Announcer, NatsAnnouncer, Silence
from clarion.recipients.cache.live_defaults import LiveDefaults
from clarion.recipients.cache.profile_cache import ProfileCache
from clarion.recipients.cache.suppression_mirror import SuppressionMirror
from clarion.recipients.changes import Changes
from clarion.recipients.critical_types import CriticalTypes, NoCriticalTypes
from clarion.recipients.defaults import Defaults
from clarion.recipients.people import People
from clarion.recipients.profiles import Profiles
from clarion.recipients.readiness import Readiness
from clarion.recipients.router_types import RouterTypes
from clarion.recipients.servicers.consent import ConsentServicer
from clarion.recipients.servicers.preference import PreferenceServicer
from clarion.recipients.servicers.recipient import RecipientServicer
from clarion.recipients.servicers.topic import TopicServicer
from clarion.recipients.settings import Settings
from clarion.recipients.suppressing import Suppressions
from clarion.runtime.clock import SystemClock
from clarion.runtime.postgres import check_pool, open_pool
from clarion.runtime.service import Service
from clarion.runtime.valkey import open_client, redis_errors


async def build(service: Service, settings: Settings) -> None:
    """Stores, the use cases on them, and the four servicers."""
    # The stores are opened here and not by the service, whose readiness would then
    # follow each of them alone.
    pool = await open_pool(
        service.settings.url("postgres"), service.name, is_parallel=False
    )
    service.on_close(pool.close)
    redis = open_client(service.settings.url("redis"))
    service.on_close(redis.aclose)

    async def ping() -> None:
        with redis_errors():
            await cast(Any, redis).ping()

    service.depends_on("stores", Readiness(lambda: check_pool(pool), ping).check)

    live = LiveDefaults(pool)
    # So that the first call finds them read.
    await live.look()
    service.add_task("default-preferences", live.run)
    announcer: Announcer = Silence()
    if service.settings.nats_url:
        nats = announcer = NatsAnnouncer(service.settings.nats_url, live.hint)
        service.add_task("announcer", nats.run)
    cache = ProfileCache(redis, settings.profile_ttl)
    service.add_task("profile-cache", cache.run)
    mirror = SuppressionMirror(redis, pool, restarted=cache.sweep)
    service.add_task("suppression-mirror", mirror.run)

    clock = SystemClock()
    changes = Changes(pool, cache, announcer)
    people = People(changes, clock)
    suppressions = Suppressions(mirror, changes, clock)
    service.add_servicer(
        add_RecipientServiceServicer_to_server,
        RecipientServicer(people, Profiles(pool, cache, live)),
    )
    critical: CriticalTypes = NoCriticalTypes()
    if service.settings.router_target:
        critical = RouterTypes(service.channel("router"), clock)
    service.add_servicer(
        add_PreferenceServiceServicer_to_server,
        PreferenceServicer(
            pool,
            changes,
            live,
            Defaults(pool, live, announcer, clock),
            critical,
            clock,
        ),
    )
    service.add_servicer(
        add_ConsentServiceServicer_to_server,
        ConsentServicer(pool, changes, suppressions, clock),
    )
    service.add_servicer(add_TopicServiceServicer_to_server, TopicServicer(pool, clock))
