"""The router's parts."""

from __future__ import annotations

from datetime import timedelta

from clarion.api.router.v1.notification_service_pb2_grpc import (
    add_NotificationServiceServicer_to_server,
)
from clarion.router.accepting import Acceptance
from clarion.router.admission import AdmissionLimits
from clarion.router.breaker import Breaker
from clarion.router.cancelling import Cancellation, ValkeyCancelMarks
from clarion.router.consumers import IntakeHandler
from clarion.router.metrics import IntakeObserver
from clarion.router.neighbours import GrpcNeighbours
from clarion.router.routing import Router
from clarion.router.servicer import NotificationServicer
from clarion.router.settings import Settings
from clarion.router.storing import Store
from clarion.router.valkey_keys import ValkeyIdempotencyKeys
from clarion.runtime import chunks
from clarion.runtime.clock import SystemClock
from clarion.runtime.jetstream import Consumer, GroupPublisher
from clarion.runtime.service import Service
from clarion.runtime.streams import (
    INTAKE,
    LANES,
    durable_name,
    events_subject,
    stream_of,
    work_subject,
)
from clarion.runtime.valkey import open_client

NOTIFICATION_SERVICE = "clarion.api.router.v1.NotificationService"
VALKEY_PAUSE = timedelta(seconds=1)
"""How long Valkey is left alone once it did not answer."""


async def build(service: Service, settings: Settings) -> None:
    """Wires the front door and the workers of the three lanes."""
    clock = SystemClock()
    streams = await service.connect_streams()
    # Not service.redis(): readiness would depend on it, and nothing would be sent here
    # any more while accepting goes on without it.
    valkey = open_client(service.settings.url("redis"))
    service.on_close(valkey.aclose)

    def group_publisher(subject: str) -> GroupPublisher[bytes]:
        publisher = GroupPublisher(streams.publisher, subject, chunks.join)
        service.on_close(publisher.close)
        return publisher

    events = group_publisher(events_subject("router"))
    store = Store(
        lanes={lane: group_publisher(work_subject(INTAKE, lane)) for lane in LANES},
        events=events,
        scheduler=streams.scheduler,
        keys=ValkeyIdempotencyKeys(
            valkey,
            settings.idempotency_window,
            Breaker("valkey", settings.idempotency_patience, VALKEY_PAUSE, clock),
        ),
    )
    limits = AdmissionLimits(
        settings.channel_names(),
        settings.max_notification_bytes,
        settings.max_schedule,
    )
    acceptance = Acceptance(store, limits, clock)
    cancellation = Cancellation(
        streams.scheduler,
        ValkeyCancelMarks(valkey, settings.cancel_window),
        events,
        clock,
    )
    service.add_servicer(
        add_NotificationServiceServicer_to_server,
        NotificationServicer(acceptance, cancellation),
        NOTIFICATION_SERVICE,
    )

    neighbours = GrpcNeighbours(
        service.channel("recipients"),
        service.channel("ratelimit"),
        service.channel("templating"),
        settings.neighbour_deadline,
    )
    router = Router(neighbours, streams.publisher, clock)
    for lane in LANES:
        service.add_consumer(
            Consumer(
                streams,
                stream=stream_of(INTAKE),
                durable=durable_name(INTAKE, lane),
                handle=IntakeHandler(router, streams.publisher),
                concurrency=settings.route_concurrency,
                max_messages=settings.route_messages,
                observer=IntakeObserver(lane),
            )
        )
