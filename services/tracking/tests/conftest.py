"""Events to make, a real PostgreSQL, and a database of its own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool

from clarion.api.event.v1 import notification_event_pb2 as pb2
from clarion.api.router.v1 import decision_pb2, notification_pb2
from clarion.client.embedded.servers import Server
from clarion.runtime import ids
from clarion.runtime.migrations import migrate, migrations_of
from clarion.runtime.postgres import open_pool
from clarion.runtime.testing import FakeClock
from clarion.tracking.arrivals import Arrivals
from clarion.tracking.batch import Batch
from clarion.tracking.repository import Repository
from clarion.tracking.writer import Writer

TENANT = "demo"
START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HISTORY = timedelta(days=90)


class Make:
    """Makes events the way that the services do."""

    TENANT, START, HISTORY = TENANT, START, HISTORY

    def id(self, at: datetime = START) -> str:
        return ids.uuid7(at)

    def event(
        self,
        kind: str,
        notification: str,
        *,
        at: float = 0.0,
        channel: str = "",
        delivery: str = "",
        reason: str = "",
        tenant: str = TENANT,
        part: str = "",
        **more: Any,
    ) -> pb2.NotificationEvent:
        event = pb2.NotificationEvent(
            event_id=ids.event_id(delivery or notification, kind, channel, part),
            tenant_id=tenant,
            notification_id=notification,
            kind=pb2.EventKind.Value(f"EVENT_KIND_{kind.upper()}"),
            user_id="ada",
            type="order_confirmation",
            channel=channel,
            delivery_id=delivery,
            reason=reason,
            **more,
        )
        event.occurred_time.FromDatetime(START + timedelta(seconds=at))
        return event

    def decided(
        self,
        notification: str,
        channels: dict[str, Any],
        *,
        at: float = 0.0,
        category: str = "order_updates",
        broadcast: str = "",
        **more: Any,
    ) -> pb2.NotificationEvent:
        """``channels``: channel -> ids of its deliveries, or outcome and reason."""
        choices = []
        for channel, choice in channels.items():
            made = decision_pb2.ChannelDecision(channel=channel)
            if isinstance(choice, tuple):
                made.outcome, made.reason = choice
            else:
                made.outcome = "planned"
                for id in choice:
                    made.deliveries.add(delivery_id=id)
            choices.append(made)
        decided = pb2.Decided(
            notification=notification_pb2.Notification(
                user_id="ada", type="order_confirmation", title="Your order"
            ),
            decision=decision_pb2.DecisionTrace(
                category=category, priority="high", channels=choices
            ),
            broadcast_id=broadcast,
        )
        decided.accepted_time.FromDatetime(START)
        return self.event("decided", notification, at=at, decided=decided, **more)

    def attempt(
        self, kind: str, notification: str, delivery: str, number: int, **more: Any
    ) -> pb2.NotificationEvent:
        attempt = pb2.Attempt(
            attempt=number, provider="fcm", provider_message_id=f"m-{number}"
        )
        attempt.provider_latency.FromTimedelta(timedelta(milliseconds=20))
        more = {"channel": "push", "part": str(number), **more}
        return self.event(
            kind, notification, delivery=delivery, attempt=attempt, **more
        )

    def delivery(self, notification: str, channel: str = "push", n: int = 0) -> str:
        return ids.delivery_id(notification, channel, f"target-{n}")

    def batch(self, *events: pb2.NotificationEvent) -> Batch:
        batch = Batch(START + timedelta(hours=1), HISTORY)
        batch.add(pb2.EventChunk(events=events).SerializeToString())
        return batch


@pytest.fixture
def make() -> Make:
    return Make()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


@pytest_asyncio.fixture
async def empty_database(postgres_server: Server) -> AsyncIterator[str]:
    """The URL of a fresh database."""
    name = f"t{ids.uuid7(datetime.now(UTC)).replace('-', '')}"
    identifier = sql.Identifier(name)
    async with await psycopg.AsyncConnection.connect(
        postgres_server.url, autocommit=True
    ) as connection:
        await connection.execute(sql.SQL("CREATE DATABASE {}").format(identifier))
    url = make_conninfo(postgres_server.url, dbname=name)
    yield url
    async with await psycopg.AsyncConnection.connect(
        postgres_server.url, autocommit=True
    ) as connection:
        drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
        await connection.execute(drop.format(identifier))


@pytest.fixture
def database(empty_database: str) -> str:
    """The URL of a fresh, migrated database."""
    migrate(empty_database, "tracking", migrations_of("tracking"))
    return empty_database


@pytest_asyncio.fixture
async def pool(database: str) -> AsyncIterator[AsyncConnectionPool]:
    opened = await open_pool(database, "tracking")
    yield opened
    await opened.close()


@pytest.fixture
def arrivals() -> Arrivals:
    return Arrivals()


@pytest.fixture
def writer(pool: AsyncConnectionPool, arrivals: Arrivals) -> Writer:
    return Writer(pool, arrivals)


@pytest.fixture
def repository(pool: AsyncConnectionPool) -> Repository:
    return Repository(pool)
