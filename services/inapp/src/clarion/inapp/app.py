"""The in-app channel's parts."""

from __future__ import annotations

from datetime import timedelta

from clarion.api.inapp.v1.inbox_service_pb2_grpc import (
    add_InboxServiceServicer_to_server,
)
from clarion.inapp.inbox import Inbox
from clarion.inapp.live import LiveChanges
from clarion.inapp.provider import POLICY, InboxProvider
from clarion.inapp.reaching import Reaching
from clarion.inapp.reading import CHANNEL, Marking
from clarion.inapp.servicer import InboxServicer
from clarion.inapp.settings import Settings
from clarion.inapp.unmarked import PostgresUnmarked
from clarion.inapp.watching import Watches
from clarion.runtime.clock import SystemClock
from clarion.runtime.delivery import add_channel
from clarion.runtime.delivery.reached import ValkeyReached
from clarion.runtime.jetstream import event_publisher
from clarion.runtime.service import Service

SPACING = timedelta(milliseconds=60)
"""Between two inserts of a lane. A job costs a tenth of what a message costs: its
claim, its statement, its hint to the watches and its done mark."""


async def build(service: Service, settings: Settings) -> None:
    """Wires the inbox, its watches and the delivery of the in_app channel."""
    clock = SystemClock()
    streams = await service.connect_streams()
    pool = await service.postgres(autocommit=True)
    inbox = Inbox(pool)
    live = LiveChanges(streams)
    await live.start()
    events = event_publisher(streams.publisher, "inapp")
    service.on_close(events.close)
    reached = ValkeyReached(await service.redis())
    reaching = Reaching(reached, PostgresUnmarked(pool))
    service.add_task("reads", reaching.run)
    watches = Watches(
        inbox,
        live,
        heartbeat=settings.heartbeat,
        most=settings.most_watches,
        stopping=service.stopping,
    )
    service.add_servicer(
        add_InboxServiceServicer_to_server,
        InboxServicer(inbox, Marking(inbox, live, events, clock, reaching), watches),
    )
    provider = InboxProvider(inbox, live, clock)
    await add_channel(
        service,
        CHANNEL,
        [provider],
        policy=POLICY,
        sent_is_delivered=True,
        spacing=SPACING,
    )
