"""``schedules``: how exact they are, and what very many of them do to the rest."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import click
import grpc

from clarion.api.router.v1.notification_pb2 import Notification
from clarion.api.router.v1.schedule_service_pb2 import PutScheduleRequest, Schedule
from clarion.api.router.v1.schedule_service_pb2_grpc import ScheduleServiceStub
from clarion.client.bench.probes import Probe, people
from clarion.client.bench.report import Report
from clarion.client.building import notification
from clarion.client.client import Client
from clarion.client.demo.arrivals import Arrivals
from clarion.client.demo.result import percentiles
from clarion.client.embedded import Stack
from clarion.client.errors import ApiError

PER_SECOND = 20.0
_EACH = 20
"""Fewer for a person than the limits of a day allow."""
_LEAD = 3.0
"""Seconds from the last plan to its time, at least."""
_BATCH = 500
_PUTS_AT_ONCE = 32
_PATIENCE = 15.0
OPTIONS = (
    click.Option(
        ["--count", "-n"],
        type=click.IntRange(min=1, max=1_000_000),
        default=100_000,
        show_default=True,
        help="Notifications that wait for one instant.",
    ),
    click.Option(
        ["--due"],
        type=click.IntRange(min=0, max=10_000),
        default=1000,
        show_default=True,
        help="Recurring schedules due in the same second; 0 leaves them out.",
    ),
    click.Option(
        ["--seconds"],
        type=click.FloatRange(min=1),
        default=15.0,
        show_default=True,
        help="How long sending is measured: alone, while all wait, at the release.",
    ),
)


async def run(*, count: int, due: int, seconds: float) -> Report:
    """How exact schedules are, and what very many of them do to the rest.

    Recurring ones due in one second: how late they are at the provider. Then 20 sends
    a second in the high lane: alone, while ``count`` notifications wait for one
    instant, and when they are released.
    """
    with tempfile.TemporaryDirectory() as folder:
        async with Stack(Path(folder) / "stack") as stack:
            target = stack.urls["grpc"]
            async with (
                Client(target, stack.demo_key) as demo,
                Client(target, stack.credentials.other_key) as other,
                aiohttp.ClientSession() as http,
            ):
                arrivals = Arrivals(stack.urls["sandbox"], http)
                probe = Probe("high", other, "high", PER_SECOND)
                values = await _measure(
                    stack, demo, probe, arrivals, (count, due, seconds)
                )
    return Report(values, [f"{name:28} {value}" for name, value in values.items()])


async def _measure(
    stack: Stack,
    demo: Client,
    probe: Probe,
    arrivals: Arrivals,
    sizes: tuple[int, int, float],
) -> dict[str, object]:
    count, due, seconds = sizes
    await asyncio.gather(
        probe.load(),
        demo.put_recipients(people("due", max(due, -(-count // _EACH)))),
    )
    await probe.run(_LEAD)
    late: dict[str, float] = {}
    if due:
        late = await _late(arrivals, await _put_schedules(stack, due), due)
    alone = await _probed(probe, seconds)
    began = time.monotonic()
    instant = datetime.now(UTC) + timedelta(seconds=seconds + 2 * _LEAD + count / 1500)
    planned = await _plan(demo, count, instant)
    took = time.monotonic() - began
    pending = await _probed(probe, seconds)
    await asyncio.sleep(max((instant - datetime.now(UTC)).total_seconds(), 0))
    released = await _probed(probe, seconds)
    everything = {*planned}
    await _until(arrivals, lambda: len(everything & _ids(arrivals)) == len(everything))
    ms = arrivals.arrived_ms
    of_plan = [one for (id, _), one in ms.items() if id in everything]
    start = instant.timestamp() * 1000
    windows = Counter(one // 100 for one in of_plan)
    alone_ms, pending_ms, released_ms = (
        percentiles(sent, ms) for sent in (alone, pending, released)
    )
    return {
        "due": due,
        "late_ms": late,
        "pending": len(planned),
        "planned_per_second": round(len(planned) / took, 1),
        "high_ms": alone_ms,
        "high_while_pending_ms": pending_ms,
        "high_at_release_ms": released_ms,
        "pending_p99_ratio": _ratio(pending_ms, alone_ms),
        "release_p99_ratio": _ratio(released_ms, alone_ms),
        "released_per_second": round(
            len(of_plan) * 1000 / max(max(of_plan, default=0) - start, 1.0), 1
        ),
        "most_in_100_ms": max(windows.values(), default=0),
        "early": sum(1 for one in of_plan if one < start),
        "lost": len(everything) - len({id for id, _ in ms if id in everything}),
        "duplicated": sum(
            n - 1 for (id, _), n in arrivals.counts.items() if id in everything
        ),
    }


async def _put_schedules(stack: Stack, due: int) -> datetime:
    """Puts schedules for the same minute; which one."""
    now = datetime.now(UTC)
    # Puts are single calls; some hundred a second on a small machine.
    later = now + timedelta(seconds=_LEAD + due / 100)
    at = later.replace(second=0, microsecond=0) + timedelta(minutes=1)
    metadata = (("authorization", f"Bearer {stack.demo_key}"),)
    slots = asyncio.Semaphore(_PUTS_AT_ONCE)
    async with grpc.aio.insecure_channel(stack.urls["grpc"]) as channel:
        stub = ScheduleServiceStub(channel)

        async def put(number: int) -> None:
            schedule = Schedule(
                notification=_one(number, "recurring"),
                cron=f"{at.minute} {at.hour} * * *",
                time_zone="UTC",
            )
            request = PutScheduleRequest(schedule_id=f"s-{number}", schedule=schedule)
            async with slots:
                await stub.PutSchedule(request, metadata=metadata, timeout=30)

        await asyncio.gather(*(put(number) for number in range(due)))
    return at


async def _late(arrivals: Arrivals, at: datetime, due: int) -> dict[str, float]:
    """How late what was due at that time arrived, in milliseconds."""
    await asyncio.sleep(max((at - datetime.now(UTC)).total_seconds(), 0))
    start = at.timestamp() * 1000
    await _until(
        arrivals,
        lambda: sum(one >= start for one in arrivals.arrived_ms.values()) >= due,
    )
    late = sorted(one - start for one in arrivals.arrived_ms.values() if one >= start)
    if not late:
        return {}
    return {
        "p50": late[len(late) // 2],
        "p99": late[min(len(late) - 1, len(late) * 99 // 100)],
        "last": late[-1],
        "arrived": float(len(late)),
    }


async def _plan(demo: Client, count: int, instant: datetime) -> list[str]:
    """Schedules so many notifications for one instant; their ids."""
    accepted: list[str] = []
    numbers = iter(range(0, count, _BATCH))

    async def send() -> None:
        for start in numbers:
            batch = [
                _one(number % -(-count // _EACH), "once", instant)
                for number in range(start, min(start + _BATCH, count))
            ]
            for answer in await demo.send_all(batch):
                if isinstance(answer, ApiError):
                    raise answer
                accepted.append(answer.notification_id)

    await asyncio.gather(send(), send())
    return accepted


def _one(person: int, title: str, at: datetime | None = None) -> Notification:
    return notification(
        f"due-{person}",
        "order_confirmation",
        title=title,
        message="The time has come.",
        channels=("push",),
        priority="medium",
        scheduled_at=at,
    )


async def _probed(probe: Probe, seconds: float) -> Mapping[str, float]:
    """When each of the sends of a stretch was made."""
    probe.sent_ms.clear()
    await probe.run(seconds)
    await asyncio.sleep(0.5)
    return dict(probe.sent_ms)


async def _until(arrivals: Arrivals, complete: Callable[[], bool]) -> None:
    """Follows what arrives until it is complete, or nothing comes any more."""
    last, since = -1, time.monotonic()
    while time.monotonic() - since < _PATIENCE:
        await arrivals.follow()
        if complete():
            return
        if len(arrivals.arrived_ms) != last:
            last, since = len(arrivals.arrived_ms), time.monotonic()
        await asyncio.sleep(0.5)


def _ids(arrivals: Arrivals) -> set[str]:
    return {id for id, _ in arrivals.arrived_ms}


def _ratio(one: Mapping[str, float], alone: Mapping[str, float]) -> float:
    return round(one["p99"] / alone["p99"], 2) if one and alone else 0.0
