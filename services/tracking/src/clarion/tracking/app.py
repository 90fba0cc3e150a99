"""What tracking is made of."""

from __future__ import annotations

from clarion.api.tracking.v1 import (
    analytics_service_pb2_grpc,
    audit_service_pb2_grpc,
    health_service_pb2_grpc,
    tracking_service_pb2_grpc,
)
from clarion.runtime import streams as table
from clarion.runtime.clock import SystemClock
from clarion.runtime.jetstream import AdvisoryWorker, Consumer
from clarion.runtime.service import Service
from clarion.tracking.analytics_servicer import AnalyticsServicer
from clarion.tracking.arrivals import Arrivals
from clarion.tracking.consumers import MOST_BYTES, MOST_MESSAGES, EventsHandler
from clarion.tracking.health_checks import HealthChecks, Probes
from clarion.tracking.health_servicer import HealthServicer
from clarion.tracking.maintenance import Maintenance
from clarion.tracking.repository import Repository
from clarion.tracking.settings import Settings
from clarion.tracking.tracking_servicer import TrackingServicer
from clarion.tracking.writer import Writer

_CHANNELS = ("push", "email", "sms", "inapp")


async def build(service: Service, settings: Settings) -> None:
    """Wires the service."""
    clock, arrivals = SystemClock(), Arrivals()
    pool = await service.postgres()
    streams = await service.connect_streams()
    repository = Repository(pool)

    service.add_servicer(
        tracking_service_pb2_grpc.add_TrackingServiceServicer_to_server,
        TrackingServicer(repository, arrivals, clock),
    )
    service.add_servicer(
        analytics_service_pb2_grpc.add_AnalyticsServiceServicer_to_server,
        AnalyticsServicer(repository, clock),
    )
    service.add_servicer(
        audit_service_pb2_grpc.add_AuditServiceServicer_to_server,
        audit_service_pb2_grpc.AuditServiceServicer(),
    )
    probes = Probes(
        pool,
        streams.js,
        {name: service.channel(name) for name in _CHANNELS},
        service.channel("ratelimit"),
        clock,
    )
    service.add_servicer(
        health_service_pb2_grpc.add_HealthServiceServicer_to_server,
        HealthServicer(HealthChecks(probes.checks(), clock)),
    )

    handler = EventsHandler(Writer(pool, arrivals), clock, settings.event_retention)
    service.add_consumer(
        Consumer(
            streams,
            stream=table.EVENTS,
            durable=table.TRACKING_DURABLE,
            handle=handler,
            concurrency=settings.tracking_writers,
            max_messages=MOST_MESSAGES,
            max_bytes=MOST_BYTES,
            prefetch=2 * MOST_MESSAGES,
        )
    )
    # Whatever killed its workers, of any stage, goes to the dead letters from here.
    service.add_consumer(AdvisoryWorker(streams, clock=clock))
    maintenance = Maintenance(
        pool,
        clock,
        event_retention=settings.event_retention,
        record_retention=settings.record_retention,
    )
    service.add_task("maintenance", maintenance.run)
