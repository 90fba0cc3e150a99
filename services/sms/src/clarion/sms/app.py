"""The wiring of the SMS channel."""

from __future__ import annotations

from datetime import timedelta

from clarion.api.channel.v1.webhook_service_pb2_grpc import (
    add_WebhookServiceServicer_to_server,
)
from clarion.api.recipients.v1.consent_service_pb2_grpc import ConsentServiceStub
from clarion.runtime.clock import SystemClock
from clarion.runtime.delivery import add_channel
from clarion.runtime.delivery.reached import ValkeyReached
from clarion.runtime.http.webhooks import WebhookListener
from clarion.runtime.jetstream.event_publisher import (
    RESULTS_SPACING,
    event_publisher,
)
from clarion.runtime.service import Service
from clarion.sms.providers.twilio import TwilioProvider
from clarion.sms.receiving import Receiving
from clarion.sms.servicer import WebhookServicer
from clarion.sms.settings import Settings
from clarion.sms.signature import SignatureCheck
from clarion.sms.suppressing import CHANNEL, Suppressions

_RECEIPTS_SPACING = timedelta(milliseconds=100)
"""Receipts come one by one, each is answered when it is stored, and Twilio waits for
seconds: so many of them share a message."""


async def build(service: Service, settings: Settings) -> None:
    """Delivers the channel ``sms`` by Twilio and takes its receipts and opt-outs."""
    clock = SystemClock()
    suppressions = Suppressions(ConsentServiceStub(service.channel("recipients")))
    chains = await add_channel(
        service,
        CHANNEL,
        [TwilioProvider(settings, clock)],
        on_failed=suppressions.on_failed,
        has_receipts=True,
    )
    streams = await service.connect_streams()
    events = event_publisher(streams.publisher, CHANNEL, spacing=RESULTS_SPACING)
    service.on_close(events.close)
    service.add_servicer(
        add_WebhookServiceServicer_to_server,
        WebhookServicer(
            settings.public_url,
            SignatureCheck(settings.twilio_auth_token, settings.twilio_shared_key),
            Receiving(
                events,
                suppressions,
                settings.tenants,
                clock,
                chains,
                ValkeyReached(await service.redis()),
            ),
        ),
    )
    if settings.webhook_listen:
        service.add_listener(WebhookListener(service, settings.webhook_listen))
