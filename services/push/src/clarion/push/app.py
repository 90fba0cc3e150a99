"""The wiring of push."""

from __future__ import annotations

from clarion.api.recipients.v1.recipient_service_pb2_grpc import RecipientServiceStub
from clarion.push.accounts import Accounts
from clarion.push.dead_tokens import DeadTokens
from clarion.push.settings import Settings
from clarion.runtime.clock import SystemClock
from clarion.runtime.delivery import add_channel
from clarion.runtime.service import Service


async def build(service: Service, settings: Settings) -> None:
    """Delivers the push channel through FCM and APNs."""
    accounts = Accounts(settings, SystemClock())
    service.on_close(accounts.close)
    recipients = RecipientServiceStub(service.channel("recipients"))
    await add_channel(
        service,
        "push",
        accounts.providers,
        accounts.choose,
        DeadTokens(recipients.BatchRemoveTokens),
    )
