"""Two routers and two replicas of recipients honour every change within a second."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
import pytest_asyncio

import clarion.ratelimit.app
import clarion.ratelimit.settings
import clarion.recipients.app
import clarion.recipients.settings
import clarion.router.app
import clarion.router.settings
import clarion.templating.app
import clarion.templating.settings
from clarion.api.recipients.v1.consent_service_pb2 import (
    BatchSuppressRequest,
    Consent,
    RecordConsentRequest,
)
from clarion.api.recipients.v1.consent_service_pb2_grpc import ConsentServiceStub
from clarion.api.recipients.v1.preference_service_pb2 import (
    GetPreferencesRequest,
    PutDefaultPreferencesRequest,
    UpdatePreferencesRequest,
)
from clarion.api.recipients.v1.preference_service_pb2_grpc import PreferenceServiceStub
from clarion.api.recipients.v1.recipient_pb2 import (
    Device,
    Preferences,
    Recipient,
    Suppression,
)
from clarion.api.recipients.v1.recipient_service_pb2 import (
    PutRecipientRequest,
    RemoveDeviceRequest,
)
from clarion.api.recipients.v1.recipient_service_pb2_grpc import RecipientServiceStub
from clarion.api.router.v1.notification_pb2 import Notification
from clarion.api.router.v1.notification_service_pb2 import ExplainNotificationRequest
from clarion.api.router.v1.notification_service_pb2_grpc import NotificationServiceStub
from clarion.api.router.v1.notification_type_service_pb2 import (
    NotificationType,
    PutNotificationTypeRequest,
)
from clarion.api.router.v1.notification_type_service_pb2_grpc import (
    NotificationTypeServiceStub,
)
from clarion.client.embedded import ports
from clarion.runtime.config import Secret
from clarion.runtime.jetstream import Streams
from clarion.runtime.service import Service
from clarion.runtime.settings import RuntimeSettings
from clarion.runtime.testing import INTERNAL_KEY, GrpcHarness, wait_until

pytestmark = pytest.mark.integration

CHANNELS = ("push", "email", "sms", "in_app")
HONOURED_WITHIN = 1.0


@dataclass
class Mesh:
    """The replicas, as one tenant calls them."""

    recipients: list[GrpcHarness]
    routers: list[GrpcHarness]
    tenant: str

    @property
    def people(self) -> Any:
        return RecipientServiceStub(self.recipients[0].internal(self.tenant))

    @property
    def preferences(self) -> Any:
        return PreferenceServiceStub(self.recipients[0].internal(self.tenant))

    @property
    def consents(self) -> Any:
        return ConsentServiceStub(self.recipients[0].internal(self.tenant))

    async def decided(self, router: int, user_id: str) -> dict[str, tuple[str, str]]:
        """Outcome and reason of each channel, as that router decides."""
        asked = Notification(
            user_id=user_id, type="offer", title="Hello", channels=CHANNELS
        )
        stub = NotificationServiceStub(self.routers[router].internal(self.tenant))
        answer = await stub.ExplainNotification(
            ExplainNotificationRequest(notification=asked), timeout=5
        )
        return {
            one.channel: (one.outcome, one.reason) for one in answer.decision.channels
        }


@pytest_asyncio.fixture(params=["with hints", "every hint lost"])
async def mesh(
    request: pytest.FixtureRequest,
    keys_file: Path,
    streams: Streams,
    nats_url: str,
    valkey_url: str,
    migrated: Callable[[str], str],
) -> AsyncIterator[Mesh]:
    targets = {
        name: f"127.0.0.1:{ports.free_port()}"
        for name in ("r1", "r2", "router1", "router2", "ratelimit", "templating")
    }

    async def start(
        name: str, module: Any, own: Any, listen: str, **more: Any
    ) -> GrpcHarness:
        settings = RuntimeSettings(
            api_keys_file=keys_file,
            listen=listen,
            service_key=Secret(INTERNAL_KEY),
            redis_url=valkey_url,
            ratelimit_target=targets["ratelimit"],
            templating_target=targets["templating"],
            router_target=targets["router1"],
            **more,
        )
        service = Service(name, settings)
        await module.build(service, own)
        await service.start()
        stack.push_async_callback(service.stop)
        harness = GrpcHarness(service.port, service.health)
        stack.push_async_callback(harness.close)
        await wait_until(lambda: service.health.serving, what=f"{name} is ready")
        return harness

    async with AsyncExitStack() as stack:
        await start(
            "ratelimit",
            clarion.ratelimit.app,
            clarion.ratelimit.settings.Settings(),
            targets["ratelimit"],
        )
        await start(
            "templating",
            clarion.templating.app,
            clarion.templating.settings.Settings(),
            targets["templating"],
            postgres_url=migrated("templating"),
        )
        # A replica without NATS neither sends a hint nor hears one.
        heard = nats_url if request.param == "with hints" else None
        recipients = [
            await start(
                "recipients",
                clarion.recipients.app,
                clarion.recipients.settings.Settings(),
                targets[one],
                postgres_url=migrated("recipients"),
                nats_url=heard,
            )
            for one in ("r1", "r2")
        ]
        # Each router asks a replica of its own; changes are made at the first.
        routers = [
            await start(
                "router",
                clarion.router.app,
                clarion.router.settings.Settings(),
                targets[one],
                postgres_url=migrated("router"),
                nats_url=nats_url,
                recipients_target=targets[asked],
            )
            for one, asked in (("router1", "r1"), ("router2", "r2"))
        ]
        yield Mesh(recipients, routers, f"t-{uuid.uuid4().hex[:12]}")


async def put(mesh: Mesh, user_id: str) -> None:
    await mesh.people.PutRecipient(
        PutRecipientRequest(
            user_id=user_id,
            recipient=Recipient(
                email=f"{user_id}@example.com",
                phone_number="+14155550123",
                devices=[
                    Device(device_id="d1", platform="ios", token=f"token-{user_id}")
                ],
            ),
        )
    )


async def switch_off(mesh: Mesh, user_id: str) -> None:
    await mesh.preferences.UpdatePreferences(
        UpdatePreferencesRequest(
            user_id=user_id, preferences=Preferences(push_enabled=False)
        )
    )


async def change_defaults(mesh: Mesh, user_id: str) -> None:
    await mesh.preferences.PutDefaultPreferences(
        PutDefaultPreferencesRequest(preferences=Preferences(in_app_enabled=False))
    )


async def suppress(mesh: Mesh, user_id: str) -> None:
    entry = Suppression(
        channel="email", address=f"{user_id}@example.com", reason="manual"
    )
    await mesh.consents.BatchSuppress(BatchSuppressRequest(suppressions=[entry]))


async def remove_device(mesh: Mesh, user_id: str) -> None:
    await mesh.people.RemoveDevice(RemoveDeviceRequest(user_id=user_id, device_id="d1"))


async def withdraw(mesh: Mesh, user_id: str) -> None:
    entry = Consent(
        channel="sms", category="promotional", granted=False, source="settings"
    )
    await mesh.consents.RecordConsent(
        RecordConsentRequest(user_id=user_id, consent=entry)
    )


Change = Callable[[Mesh, str], Awaitable[None]]
CHANGES: dict[str, tuple[Change, str, tuple[str, str]]] = {
    "preference": (switch_off, "push", ("skipped", "channel_disabled")),
    "device": (remove_device, "push", ("skipped", "no_address")),
    "suppression": (suppress, "email", ("suppressed", "manual")),
    "consent": (withdraw, "sms", ("skipped", "consent_withdrawn")),
    # The last one: it holds for everybody from then on.
    "defaults": (change_defaults, "in_app", ("skipped", "channel_disabled")),
}


async def test_every_router_honours_every_change_within_a_second(
    mesh: Mesh, capsys: pytest.CaptureFixture[str]
) -> None:
    took: dict[str, float] = {}
    for name, (change, channel, expected) in CHANGES.items():
        await put(mesh, name)
        for router in (0, 1):  # so that everything is cached
            before = await mesh.decided(router, name)
            assert set(before.values()) == {("planned", "")}
        await change(mesh, name)
        began = perf_counter()
        for router in (1, 0):
            while (await mesh.decided(router, name))[channel] != expected:
                assert perf_counter() - began < 5 * HONOURED_WITHIN, name
        took[name] = perf_counter() - began
    with capsys.disabled():
        print({name: f"{1000 * seconds:.0f} ms" for name, seconds in took.items()})
    assert max(took.values()) < HONOURED_WITHIN


async def test_a_person_is_shown_what_cannot_be_switched_off(mesh: Mesh) -> None:
    types = NotificationTypeServiceStub(mesh.routers[0].internal(mesh.tenant))
    await types.PutNotificationType(
        PutNotificationTypeRequest(
            type="security_alert", notification_type=NotificationType(critical=True)
        )
    )
    update = UpdatePreferencesRequest(
        user_id="ada", preferences=Preferences(categories={"security_alert": False})
    )
    told = await mesh.preferences.UpdatePreferences(update)
    assert [one.type for one in told.critical_types] == ["security_alert"]
    assert [one.category for one in told.critical_types] == ["security"]
    assert [(w.field, w.reason) for w in told.warnings] == [
        ("categories.security_alert", "critical_type")
    ]
    asked = GetPreferencesRequest(user_id="ada")
    assert await mesh.preferences.GetPreferences(asked) == told
