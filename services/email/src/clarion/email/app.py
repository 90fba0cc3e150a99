"""The wiring of the email channel."""

from __future__ import annotations

from clarion.api.recipients.v1.consent_service_pb2_grpc import ConsentServiceStub
from clarion.email.providers.smtp import SmtpProvider
from clarion.email.settings import Settings
from clarion.email.suppressing import suppress_by
from clarion.runtime.clock import SystemClock
from clarion.runtime.delivery import add_channel
from clarion.runtime.service import Service


async def build(service: Service, settings: Settings) -> None:
    """Delivers the channel ``email`` by SMTP and tells recipients about bounces."""
    provider = SmtpProvider(
        settings.server,
        settings.sender,
        SystemClock(),
        connections=settings.smtp_pool,
        timeout=settings.smtp_timeout,
    )
    consents = ConsentServiceStub(service.channel("recipients"))
    await add_channel(
        service,
        "email",
        [provider],
        on_failed=suppress_by(consents, "email", provider.name),
    )
