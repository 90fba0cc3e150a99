"""The router's parts."""

from __future__ import annotations

from datetime import timedelta

from clarion.api.router.v1.notification_service_pb2_grpc import (
    add_NotificationServiceServicer_to_server,
)
from clarion.api.router.v1.schedule_service_pb2_grpc import (
    add_ScheduleServiceServicer_to_server,
)
from clarion.router.accepting import Acceptance
from clarion.router.admission import AdmissionLimits
from clarion.router.broadcast_events import StoredBroadcastEvents
from clarion.router.broadcasting import Broadcasting
from clarion.router.cancelling import Cancellation, ValkeyCancelMarks
from clarion.router.collapsing import Collapsing, ValkeyLatest
from clarion.router.consumers import IntakeHandler
from clarion.router.digests.collecting import Digests
from clarion.router.digests.consumers import DigestHandler
from clarion.router.digests.postgres_table import PostgresDigestTable
from clarion.router.digests.removing import DigestRemoval
from clarion.router.digests.upkeep import Upkeep
from clarion.router.explaining import Explanation
from clarion.router.fan_out import FanOut
from clarion.router.giving_back import GivingBack
from clarion.router.in_hand import InHand
from clarion.router.intake import intake_consumers
from clarion.router.naming import Naming
from clarion.router.neighbours import GrpcNeighbours
from clarion.router.ordering import ValkeyTurns
from clarion.router.overflowing import Overflow, OverflowScheduler
from clarion.router.parts import Parts
from clarion.router.profiles import Profiles
from clarion.router.registry.wiring import add_types
from clarion.router.rescheduling import Rescheduling
from clarion.router.riding import Riding
from clarion.router.routing import STEP, Router
from clarion.router.schedules.firing import Firing
from clarion.router.schedules.keeping import Schedules
from clarion.router.schedules.planning import Planner
from clarion.router.schedules.reconciling import Reconciler, StreamWaiting
from clarion.router.schedules.servicer import ScheduleServicer
from clarion.router.schedules.table import PostgresScheduleTable
from clarion.router.servicer import NotificationServicer
from clarion.router.settings import Settings
from clarion.router.storing import Store
from clarion.router.strategies.escalations import ValkeyEscalations
from clarion.router.strategies.stepping import Escalating, Stepping
from clarion.router.topics import GrpcTopics
from clarion.router.valkey_keys import ValkeyIdempotencyKeys
from clarion.router.waits import Waits
from clarion.runtime import chunks
from clarion.runtime.breaker import Breaker
from clarion.runtime.clock import SystemClock
from clarion.runtime.delivery.unsent_counts import ValkeyUnsentCounts
from clarion.runtime.jetstream import (
    Consumer,
    GroupPublisher,
    JetStreamRescheduler,
)
from clarion.runtime.pacing import Governor, TenantShares
from clarion.runtime.postgres import open_pool
from clarion.runtime.service import Service
from clarion.runtime.streams import (
    DIGEST,
    FLOWS,
    INTAKE,
    LANES,
    durable_name,
    events_subject,
    parts_of,
    stream_of,
    work_subject,
)
from clarion.runtime.valkey import open_client

NOTIFICATION_SERVICE = "clarion.api.router.v1.NotificationService"
VALKEY_PAUSE = timedelta(seconds=1)
"""How long Valkey is left alone once it did not answer."""
POSTGRES_PATIENCE = timedelta(seconds=1)
"""How long what fires waits for Postgres before it goes on without."""
POSTGRES_PAUSE = timedelta(seconds=5)


async def build(service: Service, settings: Settings) -> None:
    """Wires the front door and the workers of the three lanes."""
    clock = SystemClock()
    streams = await service.connect_streams()
    # Not service.redis(): readiness would depend on it, and nothing would be sent here
    # any more while accepting goes on without it.
    valkey = open_client(service.settings.url("redis"))
    service.on_close(valkey.aclose)
    # For the same reason not service.postgres().
    pool = await open_pool(service.settings.url("postgres"), service.name)
    service.on_close(pool.close)

    def group_publisher(subject: str) -> GroupPublisher[bytes]:
        publisher = GroupPublisher(streams.publisher, subject, chunks.join)
        service.on_close(publisher.close)
        return publisher

    events = group_publisher(events_subject("router"))
    valkey_patience = Breaker(
        "valkey", settings.idempotency_patience, VALKEY_PAUSE, clock
    )
    keys = ValkeyIdempotencyKeys(valkey, settings.idempotency_window, valkey_patience)
    turns = ValkeyTurns(valkey, valkey_patience)
    scheduler = OverflowScheduler(streams.scheduler, settings.tenant_burst, clock)
    waits = Waits(clock)
    parts = Parts(clock)
    riding = Riding(waits, settings.ride_calm)
    governor = Governor(STEP)
    store = Store(
        lanes={
            part: group_publisher(work_subject(INTAKE, part))
            for flow in FLOWS
            for part in parts_of(INTAKE, flow)
        },
        events=events,
        scheduler=scheduler,
        keys=keys,
        turns=turns,
        overflow=Overflow(
            TenantShares(settings.tenant_share, settings.tenant_burst),
            clock,
            waits,
            settings.tenant_calm,
            parts,
        ),
        riding=riding,
        governor=governor,
    )
    limits = AdmissionLimits(
        settings.channel_names(),
        settings.max_notification_bytes,
        settings.max_schedule,
    )
    types = await add_types(service, streams, pool, settings.channel_names())
    neighbours = GrpcNeighbours(
        service.channel("recipients"),
        service.channel("ratelimit"),
        service.channel("templating"),
        settings.neighbour_deadline,
    )
    profiles = Profiles(neighbours, waits, clock)
    acceptance = Acceptance(store, limits, clock, types, profiles.ask_ahead)
    cancels = ValkeyCancelMarks(valkey, settings.cancel_window)
    digest_table = PostgresDigestTable(pool)
    removal = DigestRemoval(
        digest_table,
        Breaker("postgres", POSTGRES_PATIENCE, POSTGRES_PAUSE, clock),
    )
    giving_back = GivingBack(neighbours, scheduler, clock, ValkeyUnsentCounts(valkey))
    cancellation = Cancellation(
        scheduler, cancels, events, clock, turns, removal, giving_back
    )
    service.add_servicer(
        add_NotificationServiceServicer_to_server,
        NotificationServicer(
            acceptance,
            cancellation,
            Broadcasting(store, limits, clock, types),
            Explanation(neighbours, limits, clock, types),
            Rescheduling(
                JetStreamRescheduler(streams), cancels, keys, events, limits, clock
            ),
            Naming(keys),
            InHand(settings.accept_in_hand),
        ),
        NOTIFICATION_SERVICE,
    )

    collapsing = Collapsing(ValkeyLatest(valkey, settings.collapse_window))
    escalations = ValkeyEscalations(valkey)
    router = Router(
        neighbours,
        streams.publisher,
        clock,
        scheduler,
        types,
        collapsing,
        turns,
        governor,
        stepping=Stepping(escalations, scheduler),
        riding=riding,
        giving_back=giving_back,
        profiles=profiles,
    )
    escalating = Escalating(
        router, escalations, scheduler, streams.publisher, types, clock
    )
    topics = GrpcTopics(service.channel("recipients"), settings.neighbour_deadline)
    fan_out = FanOut(
        escalating,
        topics,
        cancels,
        streams.publisher,
        StoredBroadcastEvents(events, clock),
    )

    table = PostgresScheduleTable(pool)
    planner = Planner(neighbours, scheduler, types)
    service.add_servicer(
        add_ScheduleServiceServicer_to_server,
        ScheduleServicer(Schedules(table, planner, limits, clock, types)),
    )
    reconciler = Reconciler(table, StreamWaiting(streams.js), planner, scheduler, clock)
    service.add_task("schedules", reconciler.run)
    patience = Breaker("postgres", POSTGRES_PATIENCE, POSTGRES_PAUSE, clock)
    firing = Firing(fan_out, table, planner, patience, clock)
    digests = Digests(
        digest_table,
        cancels,
        collapsing,
        streams.publisher,
        scheduler,
        clock,
    )
    service.add_task("digests", Upkeep(digest_table, digests, clock).run)
    for lane in LANES:
        service.add_consumer(
            Consumer(
                streams,
                stream=stream_of(DIGEST),
                durable=durable_name(DIGEST, lane),
                handle=DigestHandler(digests),
                concurrency=settings.route_concurrency,
                max_messages=settings.route_messages,
            )
        )
    for part in (part for flow in FLOWS for part in parts_of(INTAKE, flow)):
        accepted = IntakeHandler(
            firing, streams.publisher, waits, part, giving_back, parts
        )
        # What fires stays in hand until what comes after it is planned.
        fired = IntakeHandler(firing, streams.publisher, part=part)
        for consumer in intake_consumers(streams, part, accepted, fired, settings):
            service.add_consumer(consumer)
