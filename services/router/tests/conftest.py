"""Makers of inputs, the use cases on doubles, and the whole service on real servers."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
)
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from clarion.api.event.v1.notification_event_pb2 import (
    EventChunk,
    EventKind,
    NotificationEvent,
)
from clarion.api.event.v1.work_pb2 import (
    DeliveryChunk,
    DeliveryJob,
    IntakeChunk,
    IntakeItem,
)
from clarion.api.ratelimit.v1.rate_limit_service_pb2 import (
    BatchAcquireResponse,
    BatchPeekResponse,
    BatchReleaseResponse,
)
from clarion.api.ratelimit.v1.rate_limit_service_pb2_grpc import (
    RateLimitServiceServicer,
    add_RateLimitServiceServicer_to_server,
)
from clarion.api.recipients.v1.recipient_pb2 import Preferences
from clarion.api.recipients.v1.recipient_service_pb2 import (
    BatchGetRecipientsResponse,
    RecipientProfile,
)
from clarion.api.recipients.v1.recipient_service_pb2_grpc import (
    RecipientServiceServicer,
    add_RecipientServiceServicer_to_server,
)
from clarion.api.recipients.v1.topic_service_pb2 import ListSubscribersResponse
from clarion.api.recipients.v1.topic_service_pb2_grpc import (
    TopicServiceServicer,
    add_TopicServiceServicer_to_server,
)
from clarion.api.router.v1.notification_pb2 import Notification
from clarion.api.router.v1.notification_service_pb2_grpc import NotificationServiceStub
from clarion.api.templating.v1.template_service_pb2 import BatchRenderResponse
from clarion.api.templating.v1.template_service_pb2_grpc import (
    TemplateServiceServicer,
    add_TemplateServiceServicer_to_server,
)
from clarion.client.embedded import ports
from clarion.client.embedded.servers import (
    NatsServer,
    PostgresServer,
    Server,
    ValkeyServer,
)
from clarion.router.accepting import Acceptance
from clarion.router.admission import AdmissionLimits
from clarion.router.app import build
from clarion.router.broadcasting import Broadcasting
from clarion.router.idempotency import InMemoryIdempotencyKeys
from clarion.router.in_memory import InMemoryNeighbours
from clarion.router.notification_types import BuiltInTypes
from clarion.router.settings import Settings
from clarion.router.storing import Store
from clarion.router.topics import InMemoryTopics
from clarion.runtime import chunks
from clarion.runtime.caller import Caller
from clarion.runtime.config import Secret
from clarion.runtime.credentials import ApiKeys
from clarion.runtime.delivery import add_channel
from clarion.runtime.delivery.in_memory import ScriptedProvider
from clarion.runtime.health import Health
from clarion.runtime.jetstream import (
    GroupPublisher,
    InMemoryPublisher,
    InMemoryScheduler,
    Streams,
    declare_streams,
)
from clarion.runtime.migrations import migrate, migrations_of
from clarion.runtime.server import GrpcServer
from clarion.runtime.service import Service
from clarion.runtime.settings import RuntimeSettings
from clarion.runtime.streams import LANES, work_subject
from clarion.runtime.testing import (
    INTERNAL_KEY,
    FakeClock,
    GrpcHarness,
    wait_until,
    write_keys,
)
from clarion.runtime.testing.stored import messages_of

Notify = Callable[..., Notification]
Person = Callable[..., RecipientProfile]
MakeItem = Callable[..., IntakeItem]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def notify() -> Notify:
    """Makes a notification that nothing is wrong with."""

    def make(**fields: Any) -> Notification:
        data = fields.pop("data", None)
        start = {"user_id": "ada", "type": "comment", "title": "Hello"}
        notification = Notification(**{**start, **fields})
        if data is not None:
            notification.data.update(data)
        return notification

    return make


@pytest.fixture(scope="session")
def person() -> Person:
    """Makes somebody who is reached on every channel, with two devices."""

    def make(user_id: str = "ada", **preferences: Any) -> RecipientProfile:
        profile = RecipientProfile(found=True, preferences=Preferences(**preferences))
        recipient = profile.recipient
        recipient.user_id = user_id
        recipient.email = f"{user_id}@example.com"
        recipient.phone_number = "+14155550123"
        recipient.display_name = "Ada"
        recipient.locale = "de"
        recipient.devices.add(device_id="d1", platform="android", token="token-1")
        recipient.devices.add(device_id="d2", platform="ios", token="token-2")
        return profile

    return make


@pytest.fixture
def make_item(notify: Notify, clock: FakeClock) -> MakeItem:
    """Makes an accepted notification."""

    def make(tenant: str = "demo", **fields: Any) -> IntakeItem:
        item = IntakeItem(
            notification_id=fields.pop("notification_id", "") or str(uuid.uuid4()),
            tenant_id=tenant,
            notification=notify(**fields),
            key_id="key-1",
        )
        item.accepted_time.FromDatetime(clock.now())
        return item

    return make


@dataclass
class FrontDoor:
    """Acceptance on doubles."""

    acceptance: Acceptance
    broadcasting: Broadcasting
    publisher: InMemoryPublisher
    scheduler: InMemoryScheduler
    keys: InMemoryIdempotencyKeys
    caller: Caller
    asked_ahead: list[tuple[str, Mapping[str, str]]]

    async def accept(self, notification: Notification) -> Any:
        return await self.acceptance.accept(notification, self.caller)

    async def broadcast(self, topic: str, notification: Notification) -> Any:
        return await self.broadcasting.accept(topic, notification, self.caller)

    async def accept_all(self, notifications: Sequence[Notification]) -> list[Any]:
        return await self.acceptance.accept_all(notifications, self.caller)

    def stored(self, lane: str = "medium") -> list[IntakeItem]:
        return [
            item
            for message in self.publisher.on(work_subject("intake", lane))
            for item in IntakeChunk.FromString(message.body).items
        ]


@pytest.fixture
async def front_door(clock: FakeClock) -> AsyncIterator[FrontDoor]:
    publisher, scheduler = InMemoryPublisher(), InMemoryScheduler()
    keys = InMemoryIdempotencyKeys()
    groups = {
        subject: GroupPublisher(publisher, subject, chunks.join)
        for subject in ("events.router", *(work_subject("intake", n) for n in LANES))
    }
    settings = Settings()
    store = Store(
        {lane: groups[work_subject("intake", lane)] for lane in LANES},
        groups["events.router"],
        scheduler,
        keys,
    )
    limits = AdmissionLimits(
        settings.channel_names(),
        settings.max_notification_bytes,
        settings.max_schedule,
    )
    asked_ahead: list[tuple[str, Mapping[str, str]]] = []

    def ask_ahead(tenant: str, user_ids: Mapping[str, str]) -> None:
        asked_ahead.append((tenant, user_ids))

    acceptance = Acceptance(store, limits, clock, ask_ahead=ask_ahead)
    caller = Caller("demo", "key-1", frozenset({"*"}))
    broadcasting = Broadcasting(store, limits, clock, BuiltInTypes())
    yield FrontDoor(
        acceptance, broadcasting, publisher, scheduler, keys, caller, asked_ahead
    )
    for group in groups.values():
        await group.close()


@dataclass
class Outbox:
    """What a router handed over, taken out of published chunks."""

    publisher: InMemoryPublisher

    @property
    def jobs(self) -> list[DeliveryJob]:
        return [
            job
            for message in self.publisher.published
            if message.subject.startswith("work.")
            for job in DeliveryChunk.FromString(message.body).jobs
        ]

    @property
    def events(self) -> list[NotificationEvent]:
        return [
            event
            for message in self.publisher.on("events.router")
            for event in EventChunk.FromString(message.body).events
        ]


@pytest.fixture
def outbox() -> Outbox:
    return Outbox(InMemoryPublisher())


@pytest.fixture
def scheduler() -> InMemoryScheduler:
    return InMemoryScheduler()


@pytest.fixture
def neighbours(person: Person) -> InMemoryNeighbours:
    """Ada, who gets everything."""
    double = InMemoryNeighbours()
    double.people["ada"] = person()
    return double


def running(server: Server) -> Iterator[Server]:
    asyncio.run(server.start())
    yield server
    asyncio.run(server.stop())


async def declare(url: str) -> None:
    streams = await Streams.connect(url, name="declare")
    await declare_streams(streams.js, 1)
    await streams.close()


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    for server in running(NatsServer(tmp_path_factory.mktemp("nats"))):
        asyncio.run(declare(server.url))
        yield server


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from running(ValkeyServer(tmp_path_factory.mktemp("valkey")))


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    for server in running(PostgresServer(tmp_path_factory.mktemp("postgres"))):
        migrate(server.url, "router", migrations_of("router"))
        yield server


@pytest.fixture
async def own_nats(tmp_path: Path) -> AsyncIterator[Server]:
    """A NATS server that a test may kill."""
    async with NatsServer(tmp_path / "nats") as server:
        await declare(server.url)
        yield server


@pytest.fixture
async def own_valkey(tmp_path: Path) -> AsyncIterator[Server]:
    """A Valkey server that a test may stop."""
    async with ValkeyServer(tmp_path / "valkey") as server:
        yield server


class People(RecipientServiceServicer):
    def __init__(self, double: InMemoryNeighbours) -> None:
        self.double = double

    async def BatchGetRecipients(self, request: Any, context: Any) -> Any:
        profiles = await self.double.recipients("", request.user_ids)
        return BatchGetRecipientsResponse(profiles=profiles)


class Subscribers(TopicServiceServicer):
    def __init__(self, double: InMemoryTopics) -> None:
        self.double = double

    async def ListSubscribers(self, request: Any, context: Any) -> Any:
        page = await self.double.page(
            "", request.topic, request.page_size, request.page_token
        )
        return ListSubscribersResponse(
            user_ids=page.user_ids, next_page_token=page.next_page_token
        )


def _encoded(items: Any) -> list[bytes]:
    return [item.SerializeToString() for item in items]


class Permits(RateLimitServiceServicer):
    def __init__(self, double: InMemoryNeighbours) -> None:
        self.double = double

    async def BatchAcquire(self, request: Any, context: Any) -> Any:
        results = await self.double.acquire("", _encoded(request.items))
        return BatchAcquireResponse(results=results)

    async def BatchPeek(self, request: Any, context: Any) -> Any:
        results = await self.double.peek("", _encoded(request.items))
        return BatchPeekResponse(results=results)

    async def BatchRelease(self, request: Any, context: Any) -> Any:
        await self.double.release("", request.items)
        return BatchReleaseResponse(released=len(request.items))


class Templates(TemplateServiceServicer):
    def __init__(self, double: InMemoryNeighbours) -> None:
        self.double = double

    async def BatchRender(self, request: Any, context: Any) -> Any:
        items = [item.SerializeToString() for item in request.items]
        results = await self.double.render("", items)
        return BatchRenderResponse(results=results)


@dataclass
class NeighbourServer:
    """The three neighbours on one port, over real gRPC."""

    keys_file: Path
    double: InMemoryNeighbours
    topics: InMemoryTopics = field(default_factory=InMemoryTopics)
    port: int = field(default_factory=ports.free_port)
    _server: GrpcServer | None = None

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        health = Health()
        server = GrpcServer(self.target, ApiKeys(self.keys_file), health)
        server.add(add_RecipientServiceServicer_to_server, People(self.double))
        server.add(add_TopicServiceServicer_to_server, Subscribers(self.topics))
        server.add(add_RateLimitServiceServicer_to_server, Permits(self.double))
        server.add(add_TemplateServiceServicer_to_server, Templates(self.double))
        await server.start()
        await health.look()
        self._server = server

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    more = [("read-only-key", "demo", ["notifications:read"])]
    return write_keys(tmp_path / "keys.json", *more)


@pytest.fixture
async def neighbour_server(
    keys_file: Path, neighbours: InMemoryNeighbours
) -> AsyncIterator[NeighbourServer]:
    server = NeighbourServer(keys_file, neighbours)
    await server.start()
    yield server
    await server.stop()


@dataclass
class Running:
    """The whole service, and what it stored for one tenant."""

    service: Service
    harness: GrpcHarness
    streams: Streams
    tenant: str

    @property
    def stub(self) -> NotificationServiceStub:
        return NotificationServiceStub(self.harness.internal(self.tenant))

    async def jobs(self, subject: str = "work.push.>") -> list[DeliveryJob]:
        return [
            job
            async for message in messages_of(self.streams, "WORK", subject)
            for job in DeliveryChunk.FromString(message.data).jobs
            if job.tenant_id == self.tenant
        ]

    async def events(self) -> list[NotificationEvent]:
        return [
            event
            async for message in messages_of(self.streams, "EVENTS", "events.router")
            for event in EventChunk.FromString(message.data).events
            if event.tenant_id == self.tenant
        ]

    async def consumer(self, durable: str) -> Any:
        return await self.streams.js.request(f"CONSUMER.INFO.INTAKE.{durable}", {})

    async def until(self, found: Callable[[], Any], count: int, within: float) -> Any:
        """Waits until ``found`` gives that many."""
        result: Any = []
        async with asyncio.timeout(within):
            while len(result) < count:
                result = await found()
                await asyncio.sleep(0.02)
        return result


Start = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def start(
    keys_file: Path,
    nats: Server,
    valkey: Server,
    postgres: Server,
    neighbour_server: NeighbourServer,
) -> Start:
    @asynccontextmanager
    async def started(
        nats_url: str = nats.url,
        redis_url: str = valkey.url,
        postgres_url: str = postgres.url,
        own: Settings = Settings(),
    ) -> AsyncIterator[Running]:
        target = neighbour_server.target
        settings = RuntimeSettings(
            api_keys_file=keys_file,
            listen="127.0.0.1:0",
            service_key=Secret(INTERNAL_KEY),
            nats_url=nats_url,
            redis_url=redis_url,
            postgres_url=postgres_url,
            recipients_target=target,
            ratelimit_target=target,
            templating_target=target,
        )
        service = Service("router", settings)
        await build(service, own)
        await service.start()
        harness = GrpcHarness(service.port, service.health)
        streams = await Streams.connect(nats_url, name="test")
        try:
            await wait_until(lambda: service.health.serving, what="readiness")
            tenant = f"t-{uuid.uuid4().hex[:12]}"
            yield Running(service, harness, streams, tenant)
        finally:
            await harness.close()
            await streams.close()
            await service.stop()

    return started


@pytest.fixture
async def router(start: Start) -> AsyncIterator[Running]:
    async with start() as running_service:
        yield running_service


@dataclass
class Push:
    """The push channel of a mesh, with a provider in this process."""

    running: Running
    provider: ScriptedProvider
    services: list[Service]

    @property
    def sent(self) -> list[DeliveryJob]:
        """Every attempt for this mesh's tenant: tests share a stream."""
        tenant = self.running.tenant
        return [job for job in self.provider.sent if job.tenant_id == tenant]

    async def told(self) -> Counter[str]:
        """How often each kind of event was told of deliveries, each id once."""
        streams = self.running.streams
        found = {
            event.event_id: EventKind.Name(event.kind).removeprefix("EVENT_KIND_")
            async for message in messages_of(streams, "EVENTS", "events.push")
            for event in EventChunk.FromString(message.data).events
            if event.tenant_id == self.running.tenant
        }
        return Counter(found.values())

    async def until(self, within: float = 30, **kinds: int) -> Counter[str]:
        """Waits for at least so many events of these kinds."""
        found: Counter[str] = Counter()
        async with asyncio.timeout(within):
            while any(found[kind] < count for kind, count in kinds.items()):
                await asyncio.sleep(0.05)
                found = await self.told()
        return found


StartPush = Callable[..., AbstractAsyncContextManager[Push]]


@pytest.fixture
def start_push(keys_file: Path, nats: Server, valkey: Server) -> StartPush:
    @asynccontextmanager
    async def started(
        running: Running,
        provider: ScriptedProvider,
        *,
        nats_url: str = nats.url,
        redis_url: str = valkey.url,
        workers: int = 1,
        **options: Any,
    ) -> AsyncIterator[Push]:
        async with AsyncExitStack() as stack:
            services = []
            for _ in range(workers):
                settings = RuntimeSettings(
                    api_keys_file=keys_file,
                    listen="127.0.0.1:0",
                    nats_url=nats_url,
                    redis_url=redis_url,
                )
                service = Service("push", settings)
                stack.push_async_callback(service.stop)
                await add_channel(service, "push", [provider], **options)
                await service.start()
                services.append(service)
            yield Push(running, provider, services)

    return started
