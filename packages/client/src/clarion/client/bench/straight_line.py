"""The floor: one notification after another through the same servers, nothing around.

What every design has to do that stores twice and counts: no services, no retries, no
redelivery, no lanes, no traces of decisions.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import psycopg

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_DECIDED,
    EVENT_KIND_SENT,
)
from clarion.api.event.v1.work_pb2 import DeliveryChunk
from clarion.api.router.v1.notification_pb2 import Notification
from clarion.api.router.v1.notification_service_pb2 import (
    BatchSendNotificationsRequest,
)
from clarion.client.bench.people import user_id
from clarion.client.bench.traffic import template
from clarion.runtime.ids import delivery_id, uuid7
from clarion.runtime.struct_values import python_values

# One rolling window a person, as the limiter has two of them.
_LIMITS = """
local answer = {}
for i, key in ipairs(KEYS) do
  redis.call('ZREMRANGEBYSCORE', key, '-inf', ARGV[1] - 86400000)
  local free = redis.call('ZCARD', key) < 100
  if free then
    redis.call('ZADD', key, ARGV[1], ARGV[i + 1])
    redis.call('PEXPIRE', key, 86400000)
  end
  answer[i] = free
end
return answer
"""
_CLAIMS = """
local answer = {}
for i, key in ipairs(KEYS) do
  answer[i] = redis.call('SET', key, 'D', 'NX', 'PX', 86400000)
end
return answer
"""
_TABLE = """
CREATE SCHEMA straight_line
CREATE TABLE events (
    notification_id uuid NOT NULL, event_id uuid NOT NULL, at timestamptz NOT NULL,
    kind smallint NOT NULL, tenant text NOT NULL, channel text NOT NULL,
    type text NOT NULL, detail bytea NOT NULL
)
CREATE INDEX events_by_notification ON events (notification_id)
"""
_COLUMNS = ("uuid", "uuid", "timestamptz", "int2", "text", "text", "text", "bytea")


class StraightLine:
    """``async with StraightLine(urls, users) as line``."""

    def __init__(self, urls: Mapping[str, str], users: int) -> None:
        self._urls = urls
        self._profiles = {
            user_id(number): (f"fcm-{number}", f"{number}@people.example", "+1415")
            for number in range(users)
        }
        self._templates: Any = None
        self._nats: Any = None
        self._js: Any = None
        self._pulls: dict[str, Any] = {}
        self._redis: Any = None
        self._scripts: dict[str, Any] = {}
        self._postgres: psycopg.AsyncConnection[Any]

    async def __aenter__(self) -> Self:
        import nats
        from minijinja import Environment
        from redis.asyncio import Redis

        sources: dict[str, str] = {}
        for variant in template().variants:
            for part in ("title", "body", "html"):
                if getattr(variant, part):
                    sources[f"{variant.channel}.{part}"] = getattr(variant, part)
        self._templates = Environment(
            templates=sources,
            auto_escape_callback=lambda name: name.endswith("html"),
        )
        self._nats = await nats.connect(self._urls["nats"])
        self._js = self._nats.jetstream()
        await self._js.add_stream(
            name="STRAIGHT_LINE", subjects=["line.>"], retention="workqueue"
        )
        for stage in ("intake", "work"):
            subject = f"line.{stage}"
            self._pulls[stage] = await self._js.pull_subscribe(subject, stage)
        self._redis = Redis.from_url(self._urls["valkey"])
        for name, source in (("limits", _LIMITS), ("claims", _CLAIMS)):
            self._scripts[name] = await self._redis.script_load(source)
        self._postgres = await psycopg.AsyncConnection.connect(
            self._urls["postgres"], autocommit=True
        )
        await self._postgres.execute(_TABLE)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._js.delete_stream("STRAIGHT_LINE")
        await self._nats.close()
        await self._redis.aclose()
        await self._postgres.execute("DROP SCHEMA straight_line CASCADE")
        await self._postgres.close()

    async def deliver(self, request: bytes) -> int:
        """Takes a batch from its arrival to its events; how many deliveries."""
        BatchSendNotificationsRequest.FromString(request)
        message = await self._through("intake", request)
        sent = BatchSendNotificationsRequest.FromString(message.data).notifications
        now = datetime.now(UTC)
        ids = [uuid7(now) for _ in sent]
        await self._ask("limits", [f"l:{one.user_id}" for one in sent], ids)
        rows: list[tuple[Any, ...]] = []
        jobs = self._jobs(sent, ids, now, rows)
        work = await self._through("work", jobs.SerializeToString())
        taken = DeliveryChunk.FromString(work.data).jobs
        await self._ask("claims", [f"c:{job.delivery_id}" for job in taken], ())
        for job in taken:
            rows.append(_row(job, EVENT_KIND_SENT, datetime.now(UTC), job.channel, b""))
        await self._copy(rows)
        await message.ack()
        await work.ack()
        return len(taken)

    async def _through(self, stage: str, body: bytes) -> Any:
        await self._js.publish(f"line.{stage}", body)
        (message,) = await self._pulls[stage].fetch(1)
        return message

    async def _ask(self, script: str, keys: list[str], ids: Any) -> None:
        now = time.time_ns() // 1_000_000
        await self._redis.evalsha(self._scripts[script], len(keys), *keys, now, *ids)

    def _jobs(
        self, sent: Any, ids: list[str], now: datetime, rows: list[tuple[Any, ...]]
    ) -> DeliveryChunk:
        chunk = DeliveryChunk()
        for one, id_ in zip(sent, ids, strict=True):
            token, email, phone = self._profiles[one.user_id]
            data = python_values(one.data, dict, list)
            addresses = {"push": token, "email": email, "sms": phone}
            for channel in one.channels:
                job = chunk.jobs.add(
                    notification_id=id_,
                    tenant_id="demo",
                    user_id=one.user_id,
                    channel=channel,
                    priority=one.priority,
                    type=one.type,
                )
                address = addresses.get(channel, one.user_id)
                job.target.address = address
                job.delivery_id = delivery_id(id_, channel, address)
                self._render(job, channel, data)
            rows.append(_row(chunk.jobs[-1], EVENT_KIND_DECIDED, now, "", _detail(one)))
        return chunk

    def _render(self, job: Any, channel: str, data: Mapping[str, Any]) -> None:
        render = self._templates.render_template
        person = {"display_name": job.user_id}
        content = job.content
        content.title = render(f"{channel}.title", data=data, recipient=person)
        content.body = render(f"{channel}.body", data=data, recipient=person)
        if channel == "email":
            content.html = render("email.html", data=data, recipient=person)

    async def _copy(self, rows: list[tuple[Any, ...]]) -> None:
        async with (
            self._postgres.cursor() as cursor,
            cursor.copy("COPY straight_line.events FROM STDIN (FORMAT binary)") as copy,
        ):
            copy.set_types(_COLUMNS)
            for row in rows:
                await copy.write_row(row)


def _row(
    job: Any, kind: int, at: datetime, channel: str, detail: bytes
) -> tuple[Any, ...]:
    event = UUID(bytes=os.urandom(16))
    notification = UUID(job.notification_id)
    return (notification, event, at, kind, "demo", channel, job.type, detail)


def _detail(notification: Notification) -> bytes:
    return notification.SerializeToString()
