"""Wires the delivery pipeline of one channel onto a service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from clarion.api.channel.v1.channel_service_pb2_grpc import (
    add_ChannelServiceServicer_to_server,
)
from clarion.runtime import streams as table
from clarion.runtime.clock import Clock, SystemClock
from clarion.runtime.delivery.attempts import RetryPolicy
from clarion.runtime.delivery.chains import Chains
from clarion.runtime.delivery.channel_servicer import ChannelServicer
from clarion.runtime.delivery.claims import DONE_TTL, LEASE, Claims
from clarion.runtime.delivery.follow_ups import FollowUps
from clarion.runtime.delivery.given_up import GivenUp
from clarion.runtime.delivery.lanes import DEFAULT_LANES, LaneLimits, limits_of
from clarion.runtime.delivery.provider import Choose, OnFailed, Provider
from clarion.runtime.delivery.reached import ValkeyReached
from clarion.runtime.delivery.recorder import Recorder
from clarion.runtime.delivery.sink import SinkProvider
from clarion.runtime.delivery.unsent import Unsent
from clarion.runtime.delivery.unsent_counts import ValkeyUnsentCounts
from clarion.runtime.delivery.worker import DeliveryWorker
from clarion.runtime.jetstream.consumer import Consumer
from clarion.runtime.jetstream.event_publisher import (
    RESULTS_SPACING,
    event_publisher,
)

if TYPE_CHECKING:
    from clarion.runtime.service import Service

CHANNEL_SERVICE = "clarion.api.channel.v1.ChannelService"


async def add_channel(
    service: Service,
    channel: str,
    providers: Sequence[Provider],
    choose: Choose | None = None,
    on_failed: OnFailed | None = None,
    *,
    policy: RetryPolicy | None = None,
    lanes: Mapping[str, LaneLimits] = DEFAULT_LANES,
    lease: timedelta = LEASE,
    done_ttl: timedelta = DONE_TTL,
    clock: Clock | None = None,
    has_receipts: bool = False,
    sent_is_delivered: bool = False,
    spacing: timedelta = timedelta(0),
) -> Chains:
    """Makes the service deliver a channel: push, email, sms or in_app.

    Adds the consumers of the lanes and of what overflows them, each with slots of its
    own (``lanes``), the claims, the retries and dead letters (``policy``), the events
    and ChannelService.
    ``providers`` has the preferred one first; without ``choose`` that one sends all.
    ``on_failed`` is told about FAILED outcomes (see OnFailed). The providers are
    closed with the service and their ``check`` is part of its readiness. In a dry run
    (``CLARION_DRY_RUN``) they send nothing: a sink takes their place.
    ``has_receipts`` and ``sent_is_delivered`` are for channels that stand before
    another one (see Chains, which is the answer). What comes within ``spacing`` of a
    call shares the next one of its lane.

    Connects to JetStream and Valkey; raises ConfigError where their URL is not set.
    """
    if channel not in table.CHANNELS:
        raise ValueError(f"no channel {channel!r}: one of {', '.join(table.CHANNELS)}")
    if not providers:
        raise ValueError("a channel needs a provider")
    if service.settings.dry_run:
        for provider in providers:
            service.on_close(provider.close)
        providers, choose = [SinkProvider(channel)], None
    clock = clock or SystemClock()
    policy = policy or RetryPolicy()
    streams = await service.connect_streams()
    redis = await service.redis()
    claims = Claims(redis, lease=lease, done_ttl=done_ttl)
    event_sink = event_publisher(streams.publisher, channel, spacing=RESULTS_SPACING)
    follow_ups = on_failed and FollowUps(
        channel, on_failed, streams.scheduler, streams.dead_letters, clock
    )
    chains = Chains(
        redis,
        streams.publisher,
        streams.scheduler,
        ValkeyReached(redis),
        clock,
        has_receipts=has_receipts,
        sent_is_delivered=sent_is_delivered,
    )
    unsent = Unsent(
        ValkeyUnsentCounts(redis), streams.publisher, streams.scheduler, clock
    )
    recorder = Recorder(
        channel,
        marks=claims,
        event_sink=event_sink,
        scheduler=streams.scheduler,
        letters=streams.dead_letters,
        policy=policy,
        clock=clock,
        follow_ups=follow_ups or None,
        unsent=unsent,
        chains=chains,
    )
    worker = DeliveryWorker(
        channel,
        providers,
        claims=claims,
        recorder=recorder,
        clock=clock,
        choose=choose,
        follow_ups=follow_ups or None,
        lanes=lanes,
        lease=lease,
    )
    given_up = GivenUp(redis, unsent)
    service.on_close(recorder.close)
    for provider in providers:
        service.depends_on(f"provider-{provider.name}", provider.check)
        service.on_close(provider.close)
    flows = table.FLOWS
    for part in (part for flow in flows for part in table.parts_of(channel, flow)):
        limits = limits_of(lanes, table.flow_of(part))
        service.add_consumer(
            Consumer(
                streams,
                stream=table.WORK,
                durable=table.durable_name(channel, part),
                handle=worker.handler(part),
                given_up=given_up,
                concurrency=limits.calls,
                max_messages=limits.messages,
                max_bytes=limits.message_bytes,
                # What waits here no other worker can send: keep it small.
                prefetch=limits.calls + limits.messages,
                spacing=spacing,
            )
        )
    service.add_task("leases", worker.keep_leases)
    service.add_servicer(
        add_ChannelServiceServicer_to_server,
        ChannelServicer(
            channel,
            [(provider.name, worker.health[provider.name]) for provider in providers],
            streams.dead_letters,
            event_sink,
            clock,
        ),
        CHANNEL_SERVICE,
    )
    return chains
