"""``escalation``: how late the next channel is used when nobody reads the first one."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, timedelta
from pathlib import Path

import aiohttp
import click
import grpc

from clarion.api.recipients.v1.recipient_pb2 import Recipient
from clarion.api.router.v1.notification_type_service_pb2 import (
    PutNotificationTypeRequest,
)
from clarion.api.router.v1.notification_type_service_pb2_grpc import (
    NotificationTypeServiceStub,
)
from clarion.client.bench.report import Report
from clarion.client.building import notification
from clarion.client.client import Client
from clarion.client.demo.arrivals import Arrivals
from clarion.client.embedded import Stack
from clarion.client.errors import ApiError

TYPE = "unread"
_AT_ONCE = 16
_STEP = 0.1
"""Seconds between two batches that are sent."""
_PATIENCE = 15.0
OPTIONS = (
    click.Option(
        ["--count", "-n"],
        type=click.IntRange(min=1, max=100_000),
        default=1000,
        show_default=True,
        help="Notifications that nobody reads.",
    ),
    click.Option(
        ["--after"],
        type=click.FloatRange(min=1),
        default=5.0,
        show_default=True,
        help="Seconds in which they are to be read.",
    ),
    click.Option(
        ["--over"],
        type=click.FloatRange(min=0),
        default=0.0,
        show_default=True,
        help="Seconds over which they are sent; 0: all at once.",
    ),
)


async def run(*, count: int, after: float, over: float) -> Report:
    """How late the next channel is used when nobody reads the first one.

    In-app first; then an SMS, when the deadline is over that the decision of each
    names. The lateness is that of the provider's request.
    """
    with tempfile.TemporaryDirectory() as folder:
        async with (
            Stack(Path(folder) / "stack") as stack,
            Client(stack.urls["grpc"], stack.demo_key) as client,
            aiohttp.ClientSession() as http,
        ):
            await _put_type(stack, after)
            await client.put_recipients(
                [
                    Recipient(user_id=f"u-{n}", phone_number=f"+1415555{n:04}")
                    for n in range(min(count, 10_000))
                ]
            )
            arrivals = Arrivals(stack.urls["sandbox"], http)
            ids = await _send(client, count, over)
            await _until(arrivals, count, after)
            deadlines = await _deadlines(client, ids)
    values = _lateness(deadlines, arrivals, count)
    return Report(values, [f"{name:12} {value}" for name, value in values.items()])


async def _put_type(stack: Stack, after: float) -> None:
    request = PutNotificationTypeRequest(type=TYPE)
    own = request.notification_type
    own.strategy, own.escalate_until = "escalate", "read"
    own.channels[:] = ["in_app", "sms"]
    own.priority = "high"
    own.escalate_after.FromTimedelta(timedelta(seconds=after))
    metadata = (("authorization", f"Bearer {stack.demo_key}"),)
    async with grpc.aio.insecure_channel(stack.urls["grpc"]) as channel:
        stub = NotificationTypeServiceStub(channel)
        await stub.PutNotificationType(request, metadata=metadata, timeout=30)


async def _send(client: Client, count: int, over: float) -> list[str]:
    wanted = [
        notification(f"u-{n % 10_000}", TYPE, title="Unread", message="Nobody looks.")
        for n in range(count)
    ]
    steps = max(1, round(over / _STEP))
    size = -(-count // steps)
    began = time.monotonic()
    ids = []
    for number, start in enumerate(range(0, count, size)):
        await asyncio.sleep(max(0.0, began + number * _STEP - time.monotonic()))
        for answer in await client.send_all(wanted[start : start + size]):
            if isinstance(answer, ApiError):
                raise answer
            ids.append(answer.notification_id)
    return ids


async def _until(arrivals: Arrivals, count: int, after: float) -> None:
    """Follows what arrives until all have, or nothing comes any more."""
    last, since = 0, time.monotonic() + after
    while time.monotonic() - since < _PATIENCE:
        await arrivals.follow()
        here = arrivals.by_channel()["sms"]
        if here >= count:
            return
        if here != last:
            last, since = here, time.monotonic()
        await asyncio.sleep(0.5)


async def _deadlines(client: Client, ids: list[str]) -> Mapping[str, float]:
    """When the SMS of each was due by its first decision, in milliseconds."""
    slots = asyncio.Semaphore(_AT_ONCE)
    found: dict[str, float] = {}

    async def look(id: str) -> None:
        async with slots:
            explained = await client.explain(id)
        for decision in explained.decisions:
            for channel in decision.channels:
                if channel.HasField("escalate_time"):
                    at = channel.escalate_time.ToDatetime(UTC)
                    found[id] = at.timestamp() * 1000

    await asyncio.gather(*(look(id) for id in ids))
    return found


def _lateness(
    deadlines: Mapping[str, float], arrivals: Arrivals, count: int
) -> dict[str, object]:
    late = sorted(
        arrived - deadlines[id]
        for (id, channel), arrived in arrivals.arrived_ms.items()
        if channel == "sms" and id in deadlines
    )
    arrived = [n for (_, channel), n in arrivals.counts.items() if channel == "sms"]
    return {
        "escalated": len(late),
        "late_ms": {
            "p50": round(late[len(late) // 2], 1),
            "p99": round(late[min(len(late) - 1, len(late) * 99 // 100)], 1),
            "last": round(late[-1], 1),
        }
        if late
        else {},
        "early": sum(one < 0 for one in late),
        "lost": count - len(arrived),
        "duplicated": sum(arrived) - len(arrived),
    }
