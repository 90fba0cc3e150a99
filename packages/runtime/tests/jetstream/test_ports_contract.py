"""One suite for the ports, run against the doubles and the real thing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from clarion.runtime.jetstream import (
    InMemoryPublisher,
    InMemoryScheduler,
    Publisher,
    Scheduler,
)
from clarion.runtime.jetstream.dead_letters import read_message
from clarion.runtime.streams import later_subject, work_subject

SUBJECT = work_subject("push", "high")
LATER = later_subject("send", "demo", "n-1")
DUE = datetime.now(UTC) + timedelta(hours=1)

Stored = list[tuple[str, bytes, str]]


@dataclass
class Ports:
    publisher: Publisher
    scheduler: Scheduler
    published: Callable[[], Awaitable[Stored]]


@pytest.fixture(
    params=["in_memory", pytest.param("jetstream", marks=pytest.mark.integration)]
)
def ports(request) -> Ports:
    if request.param == "in_memory":
        memory = InMemoryPublisher()

        async def recorded() -> Stored:
            return [
                (m.subject, m.body, m.headers.get("a", "")) for m in memory.published
            ]

        return Ports(memory, InMemoryScheduler(), recorded)

    streams = request.getfixturevalue("streams")

    async def stored() -> Stored:
        found: Stored = []
        sequence = 1
        while message := await read_message(
            streams, "WORK", {"seq": sequence, "next_by_subj": "work.>"}
        ):
            found.append((message.subject, message.data, message.headers.get("a", "")))
            sequence = message.sequence + 1
        return found

    return Ports(streams.publisher, streams.scheduler, stored)


async def schedule(ports: Ports, subject: str = LATER, body: bytes = b"x") -> None:
    await ports.scheduler.schedule(
        subject, target="due.push.high", due=DUE, body=body, message_id="n-1"
    )


async def test_published_messages_are_kept_in_order_with_their_headers(ports):
    await ports.publisher.publish(SUBJECT, b"1", message_id="1", headers={"a": "b"})
    await ports.publisher.publish(SUBJECT, b"2", message_id="2")

    assert await ports.published() == [(SUBJECT, b"1", "b"), (SUBJECT, b"2", "")]


async def test_a_message_id_counts_once_whatever_the_subject(ports):
    await ports.publisher.publish(SUBJECT, b"1", message_id="1")
    await ports.publisher.publish(work_subject("sms", "low"), b"1", message_id="1")

    assert await ports.published() == [(SUBJECT, b"1", "")]


async def test_a_subject_holds_one_schedule(ports):
    await schedule(ports)
    await schedule(ports, body=b"changed")

    assert await ports.scheduler.cancel(LATER) == 1


async def test_cancelling_what_is_not_there_counts_nothing(ports):
    assert await ports.scheduler.cancel(LATER) == 0


@pytest.mark.parametrize("pattern", ["later.send.demo.*", "later.send.>", "later.>"])
async def test_a_wildcard_cancels_what_it_matches(ports, pattern):
    await schedule(ports)
    await schedule(ports, later_subject("send", "demo", "n-2"))

    assert await ports.scheduler.cancel(pattern) == 2


async def test_a_wildcard_spares_other_tenants(ports):
    await schedule(ports)

    assert await ports.scheduler.cancel(later_subject("send", "other", "*")) == 0
