"""A sandbox as Twilio, the adapter on it, and recipients that remember opt-outs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from clarion.api.recipients.v1 import consent_service_pb2 as consent_pb
from clarion.api.recipients.v1.consent_service_pb2_grpc import (
    ConsentServiceServicer,
    add_ConsentServiceServicer_to_server,
)
from clarion.runtime.caller import current_caller
from clarion.runtime.clock import SystemClock
from clarion.runtime.config import Secret
from clarion.runtime.delivery import Outcome
from clarion.runtime.errors import UnavailableError
from clarion.runtime.testing import GrpcHarness, serve
from clarion.runtime.testing.outcomes import outcomes_of
from clarion.sandbox.testing import RunningSandbox, running_sandbox
from clarion.sms.providers.twilio import TwilioProvider
from clarion.sms.settings import Settings

PUBLIC_URL = "https://mesh.example.com"

Send = Callable[..., Awaitable[list[Outcome]]]


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[RunningSandbox]:
    async with running_sandbox(tmp_path, receipts="off") as running:
        yield running


@pytest.fixture
def make_settings() -> Callable[..., Settings]:
    """Settings of an account; keyword arguments change fields."""

    def make(**changed: Any) -> Settings:
        fields = {
            "twilio_account_sid": "AC" + "0" * 32,
            "twilio_auth_token": Secret("token"),
            "twilio_from": "+15005550006",
            "public_url": PUBLIC_URL,
        }
        return Settings(**(fields | changed))

    return make


@pytest.fixture
def account(
    sandbox: RunningSandbox, make_settings: Callable[..., Settings]
) -> Callable[..., Settings]:
    """Settings of the sandbox's account."""

    def make(**changed: Any) -> Settings:
        fields = {
            "twilio_account_sid": sandbox.twilio_account_sid,
            "twilio_auth_token": Secret(sandbox.twilio_auth_token),
            "twilio_url": sandbox.twilio_url,
        }
        return make_settings(**(fields | changed))

    return make


@pytest.fixture
async def make_provider(
    account: Callable[..., Settings],
) -> AsyncIterator[Callable[..., TwilioProvider]]:
    """An adapter to the sandbox, closed at the end of the test."""
    made: list[TwilioProvider] = []

    def make(**changed: Any) -> TwilioProvider:
        provider = TwilioProvider(account(**changed), SystemClock())
        made.append(provider)
        return provider

    yield make
    for provider in made:
        await provider.close()


@pytest.fixture
def provider(make_provider: Callable[..., TwilioProvider]) -> TwilioProvider:
    return make_provider(
        twilio_connect_timeout=timedelta(seconds=2), twilio_timeout=timedelta(seconds=5)
    )


@pytest.fixture
def send() -> Send:
    """Sends jobs by a provider; the outcomes in their order."""
    return outcomes_of


class Recipients(ConsentServiceServicer):
    """Remembers suppressions as (tenant, number) -> reason."""

    def __init__(self) -> None:
        self.suppressed: dict[tuple[str, str], str] = {}
        self.is_down = False

    async def BatchSuppress(self, request: Any, context: Any) -> Any:
        if self.is_down:
            raise UnavailableError("down for the test")
        for entry in request.suppressions:
            assert (entry.channel, entry.source) == ("sms", "twilio")
            self.suppressed[current_caller().tenant, entry.address] = entry.reason
        return consent_pb.BatchSuppressResponse()

    async def RemoveSuppression(self, request: Any, context: Any) -> Any:
        if self.is_down:
            raise UnavailableError("down for the test")
        self.suppressed.pop((current_caller().tenant, request.address), None)
        return consent_pb.RemoveSuppressionResponse()


@pytest.fixture
def recipients() -> Recipients:
    return Recipients()


@pytest.fixture
async def recipients_server(recipients: Recipients) -> AsyncIterator[GrpcHarness]:
    async with serve((add_ConsentServiceServicer_to_server, recipients)) as harness:
        yield harness
