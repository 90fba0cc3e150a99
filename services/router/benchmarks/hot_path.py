"""CPU of this process for one notification that is accepted, and routed.

Neighbours and streams are in memory, so that only the router's own code counts.
With ``--tracing`` spans are recorded for one request of a hundred.
Usage: python services/router/benchmarks/hot_path.py [rounds] [--profile|--tracing]
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta

import click
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind

from clarion.api.event.v1.work_pb2 import Content, IntakeChunk
from clarion.api.recipients.v1.recipient_service_pb2 import RecipientProfile
from clarion.api.router.v1.notification_service_pb2 import (
    BatchSendNotificationsRequest,
)
from clarion.router.accepting import Acceptance
from clarion.router.admission import AdmissionLimits
from clarion.router.consumers import IntakeHandler
from clarion.router.idempotency import InMemoryIdempotencyKeys
from clarion.router.in_memory import InMemoryNeighbours
from clarion.router.routing import Router
from clarion.router.servicer import NotificationServicer
from clarion.router.storing import Store
from clarion.router.waits import Waits
from clarion.runtime import chunks, tracing
from clarion.runtime.caller import Caller
from clarion.runtime.clock import SystemClock
from clarion.runtime.jetstream import GroupPublisher, Inbound
from clarion.runtime.jetstream.in_memory import InMemoryScheduler
from clarion.runtime.streams import CHANNELS, LANES
from clarion.runtime.validation import check

BATCH = 1000
PEOPLE = 5000
CALLER = Caller("demo", "bench", frozenset({"*"}))


class Counting:
    """A publisher that keeps what is published on intake and forgets the rest."""

    def __init__(self) -> None:
        self.intake: list[bytes] = []

    async def publish(
        self,
        subject: str,
        body: bytes,
        *,
        message_id: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if "intake" in subject:
            self.intake.append(body)


def request(start: int) -> bytes:
    """A batch of the mix: 70 push, 20 email, 10 sms; in-app with every fifth."""
    batch = BatchSendNotificationsRequest()
    for n in range(start, start + BATCH):
        channel = "push" if n % 10 < 7 else "email" if n % 10 < 9 else "sms"
        one = batch.notifications.add(
            user_id=f"user-{n % PEOPLE}",
            type="order_confirmation",
            channels=[channel, "in_app"] if n % 5 == 0 else [channel],
            template_id="order",
            priority="medium",
        )
        one.data.update(
            {
                "order_id": f"A-{n}",
                "total": 99.95,
                "items": [{"name": "Lamp", "count": 2}, {"name": "Desk", "count": 1}],
            }
        )
    return batch.SerializeToString()


def people() -> dict[str, RecipientProfile]:
    found = {}
    for n in range(PEOPLE):
        profile = RecipientProfile(found=True)
        person = profile.recipient
        person.user_id = f"user-{n}"
        person.email = f"user{n}@example.com"
        person.phone_number = f"+1415555{n:04}"
        person.display_name = f"User {n}"
        person.locale = "en"
        person.time_zone = "Europe/Berlin"
        person.devices.add(device_id=f"d{n}", platform="android", token=f"t{n}" * 20)
        if n % 3 == 0:
            profile.preferences.categories["promotional"] = False
            profile.preferences.version = 3
        found[person.user_id] = profile
    return found


class Neighbours(InMemoryNeighbours):
    """Answers as the services do, with messages that were decoded."""

    def _rendered(self, item, channel):  # type: ignore[no-untyped-def]
        result = super()._rendered(item, channel)
        result.content.CopyFrom(
            Content(
                title="Your order A-1000",
                body="Hello, we have your order of 2 x Lamp, 1 x Desk. Total: 99.95",
                template_id="order",
                template_version=3,
                locale="en",
            )
        )
        return result


async def measure(rounds: int) -> None:
    clock = SystemClock()
    publisher = Counting()
    lanes = {
        lane: GroupPublisher(publisher, f"work.intake.{lane}", chunks.join)
        for lane in LANES
    }
    store = Store(
        lanes=lanes,
        events=GroupPublisher(publisher, "events.router", chunks.join),
        scheduler=InMemoryScheduler(),
        keys=InMemoryIdempotencyKeys(),
    )
    acceptance = Acceptance(
        store, AdmissionLimits(CHANNELS, 65_536, timedelta(days=99)), clock
    )
    neighbours = Neighbours()
    neighbours.people = people()
    router = Router(neighbours, publisher, clock, InMemoryScheduler())
    handler = IntakeHandler(router, publisher, Waits(clock))
    requests = [request(n * BATCH) for n in range(rounds)]
    from clarion.router import servicer as wire

    front = NotificationServicer(acceptance, *[None] * 5)  # type: ignore[list-item]
    wire.current_caller = lambda: CALLER
    spent = {"accept": 0.0, "route": 0.0}
    began = time.process_time()
    for encoded in requests:
        message = BatchSendNotificationsRequest.FromString(encoded)
        check(message)
        with tracing.span("batch", SpanKind.SERVER):
            answer = await front.BatchSendNotifications(message, None)
        answer.SerializeToString()
    spent["accept"] = time.process_time() - began
    now = clock.now()
    bodies, publisher.intake = publisher.intake, []
    began = time.process_time()
    for sequence, body in enumerate(bodies):
        await handler(
            [Inbound("work.intake.medium", body, {}, "INTAKE", sequence, 1, now)]
        )
    spent["route"] = time.process_time() - began
    routed = sum(len(IntakeChunk.FromString(body).items) for body in bodies)
    assert routed == rounds * BATCH
    for name, seconds in spent.items():
        click.echo(f"{name:8} {seconds * 1e6 / routed:6.2f} us a notification")


def sample_one_of_a_hundred() -> None:
    """Records spans as a service does, to an exporter that forgets them."""

    class Forgetting(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(0.01)))
    provider.add_span_processor(BatchSpanProcessor(Forgetting()))
    tracing.use_tracer(provider.get_tracer("bench"))


def main() -> None:
    rounds = next((int(a) for a in sys.argv[1:] if a.isdigit()), 20)
    if "--tracing" in sys.argv:
        sample_one_of_a_hundred()
    if "--profile" not in sys.argv:
        asyncio.run(measure(rounds))
        return
    profile = cProfile.Profile()
    profile.enable()
    asyncio.run(measure(rounds))
    profile.disable()
    pstats.Stats(profile).sort_stats("tottime").print_stats(45)


if __name__ == "__main__":
    main()
