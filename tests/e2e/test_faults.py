"""Processes that are killed while notifications are under way: nothing is lost."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from clarion.api.recipients.v1.recipient_pb2 import Device, Recipient
from clarion.client import ApiError, Client, notification
from clarion.client.demo.arrivals import Arrivals
from clarion.client.embedded import Stack
from clarion.client.embedded.environment import SERVICES
from clarion.client.embedded.hosts import HOSTS

pytestmark = pytest.mark.timeout(420)

COUNT = 5000
HOSTED_COUNT = 4000
BATCH = 100
PEOPLE = 250
VICTIMS = (*SERVICES, "nats", "valkey", "postgres")
# Ten sends: seven push, two email, one sms, and in-app with the last of each.
MIX = (
    *(("push",),) * 6,
    ("push", "in_app"),
    ("email",),
    ("email", "in_app"),
    ("sms", "in_app"),
)
Key = tuple[str, str]
Sending = tuple[str, tuple[str, ...], str]
"""(person, channels, lane)"""
Batch = list[Sending]


@dataclass
class Run:
    """What one test sent, and what came of it."""

    stack: Stack
    client: Client
    http: aiohttp.ClientSession
    prefix: str = field(default_factory=lambda: f"faults-{uuid.uuid4().hex[:8]}")
    expected: Counter[Key] = field(default_factory=Counter)
    _readers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(16))

    async def load_people(self, count: int) -> None:
        self.people = [f"{self.prefix}-{number}" for number in range(count)]
        await self.client.put_recipients(
            [
                Recipient(
                    user_id=user_id,
                    email=f"{user_id}@people.example",
                    phone_number=f"+1415666{number:04d}",
                    devices=[Device(platform=_platform(number), token=_token(user_id))],
                )
                for number, user_id in enumerate(self.people)
            ]
        )

    def mixed(self, count: int) -> Iterator[Sending]:
        lanes = itertools.cycle(("medium", "high", "low"))
        for number in range(count):
            turn = number // len(self.people) + number
            yield (
                self.people[number % len(self.people)],
                MIX[turn % len(MIX)],
                next(lanes),
            )

    async def send(self, batch: Batch) -> None:
        """Sends a batch through the SDK, which repeats what is not accepted."""
        answers = await self.client.send_all(
            notification(
                user_id,
                "note",
                title="Fault",
                message="Nothing may be lost.",
                channels=channels,
                priority=lane,
                data={"n": 20},
            )
            for user_id, channels, lane in batch
        )
        for (_, channels, _), answer in zip(batch, answers, strict=True):
            assert not isinstance(answer, ApiError), answer
            for channel in channels:
                self.expected[answer.notification_id, channel] += 1

    async def send_in_turn(self, batches: list[Batch]) -> None:
        for batch in batches:
            await self.send(batch)

    async def deliveries(self) -> int:
        """How many messages the providers have accepted by now."""
        url = f"{self.stack.urls['sandbox']}/summary"
        async with self.http.get(url) as response:
            return int((await response.json())["accepted"]["total"])

    async def arrived(self) -> Counter[Key]:
        """What the providers and the inboxes hold of it."""
        known = {notification_id for notification_id, _ in self.expected}
        arrivals = Arrivals(self.stack.urls["sandbox"], self.http)
        await arrivals.follow()
        found = Counter({k: n for k, n in arrivals.counts.items() if k[0] in known})
        pages = await asyncio.gather(*(self._inbox(one) for one in self.people))
        found.update(key for page in pages for key in page)
        return found

    async def _inbox(self, user_id: str) -> list[Key]:
        async with self._readers:
            page = await self.client.inbox(user_id, page_size=500)
        assert not page.next_page_token
        return [(item.notification_id, "in_app") for item in page.items]

    async def told_as_doubled(self, key: Key) -> None:
        """Returns when its sender sees that the person may have got it twice."""
        notification_id, channel = key
        told = ("sent", channel, "possible_duplicate")
        async with asyncio.timeout(30):
            while True:
                record = await self.client.get(notification_id)
                if told in {(e.event, e.channel, e.reason) for e in record.timeline}:
                    return
                await asyncio.sleep(0.2)

    async def judged(self, *, timeout: float) -> tuple[Counter[Key], Counter[Key]]:
        """(lost, doubled), once nothing is missing or no more comes."""
        deadline = time.monotonic() + timeout
        while True:
            found = await self.arrived()
            lost, doubled = self.expected - found, found - self.expected
            if not lost or time.monotonic() > deadline:
                return lost, doubled
            await asyncio.sleep(1)


def _platform(number: int) -> str:
    return "ios" if number % 5 == 4 else "android"


def _token(user_id: str) -> str:
    return user_id.encode().hex().ljust(64, "0")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fault_stack(
    _clean_environment: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    """A stack of its own: the other tests are not to meet its faults."""
    # Each service in a process of its own, so that each can die alone.
    data: Path = tmp_path_factory.mktemp("faults")
    async with Stack(data, apart=True) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="session")
async def run(fault_stack: Stack) -> AsyncIterator[Run]:
    async with _run_on(fault_stack) as run:
        yield run


@asynccontextmanager
async def _run_on(stack: Stack) -> AsyncIterator[Run]:
    patience = timedelta(seconds=60)
    async with (
        Client(stack.urls["grpc"], stack.demo_key, patience=patience) as client,
        aiohttp.ClientSession() as http,
    ):
        yield Run(stack, client, http)


async def _wait_restarted(stack: Stack, name: str, pid: int | None) -> None:
    process = stack.process(name)
    async with asyncio.timeout(60):
        while process.pid in (None, pid):  # noqa: ASYNC110  the state has no event
            await asyncio.sleep(0.05)
    await stack.wait_ready(60)


async def test_nothing_is_lost_when_each_process_is_killed_in_turn(run: Run):
    await run.load_people(PEOPLE)
    batches = _batches(run, COUNT, len(VICTIMS))
    for victim, mine in zip(VICTIMS, batches, strict=True):
        await _kill_at_work(run, victim, mine)

    lost, doubled = await _judged_after(run, VICTIMS)
    assert len({notification_id for notification_id, _ in run.expected}) == COUNT
    assert lost == Counter()
    assert doubled.total() / run.expected.total() < 0.02
    assert all(channel != "in_app" for _, channel in doubled)


@pytest.mark.usefixtures("_clean_environment")
async def test_nothing_is_lost_when_processes_of_several_services_are_killed(
    tmp_path: Path,
):
    async with Stack(tmp_path, apart=False) as stack, _run_on(stack) as run:
        await run.load_people(PEOPLE)
        for victim, mine in zip(
            HOSTS, _batches(run, HOSTED_COUNT, len(HOSTS)), strict=True
        ):
            await _kill_at_work(run, victim, mine)

        lost, doubled = await _judged_after(run, tuple(HOSTS))
        assert len({notification_id for notification_id, _ in run.expected}) == (
            HOSTED_COUNT
        )
        assert lost == Counter()
        # Only what was in the hand of a process that died, however much that was, and
        # its sender is told.
        assert set(doubled.values()) <= {1}
        for key in doubled:
            await run.told_as_doubled(key)
        assert all(channel != "in_app" for _, channel in doubled)


def _batches(run: Run, count: int, victims: int) -> list[list[Batch]]:
    """What is sent while each victim dies, in batches."""
    sendings = list(run.mixed(count))
    share = -(-count // victims)
    return [
        [sendings[at : min(at + BATCH, end)] for at in range(end - share, end, BATCH)]
        for end in range(share, victims * share + 1, share)
    ]


async def _kill_at_work(run: Run, victim: str, batches: list[Batch]) -> None:
    """Returns when all is sent and the victim runs again."""
    pid = run.stack.process(victim).pid
    before = await run.deliveries()
    sending = asyncio.create_task(run.send_in_turn(batches))
    # In the middle of the work: some have arrived, others are under way.
    while await run.deliveries() == before and not sending.done():  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    run.stack.kill(victim)
    await sending
    await _wait_restarted(run.stack, victim, pid)


async def _judged_after(
    run: Run, victims: tuple[str, ...]
) -> tuple[Counter[Key], Counter[Key]]:
    restarts = {name: run.stack.process(name).restarts for name in victims}
    assert all(restarts.values()), restarts
    # What a killed worker had in hand comes again after 30 s, twice at most.
    lost, doubled = await run.judged(timeout=180)
    expected = run.expected.total()
    print(
        f"\nkilled {len(victims)} processes: {expected} deliveries, lost "
        f"{lost.total()}, doubled {doubled.total()} "
        f"({dict(Counter(key[1] for key in doubled))})"
    )
    return lost, doubled


@pytest.mark.parametrize(
    "victims",
    [("recipients",), ("templating",), ("ratelimit",), ("postgres",), ("valkey",)],
    ids=lambda victims: "+".join(victims),
)
async def test_accepting_goes_on_while_a_neighbour_is_down(
    run: Run, victims: tuple[str, ...]
):
    await run.load_people(20)
    await run.send(list(run.mixed(20)))
    down = asyncio.Event()

    async def keep_down() -> None:
        while not down.is_set():
            for victim in victims:
                run.stack.kill(victim)
            await asyncio.sleep(0.1)

    keeping = asyncio.create_task(keep_down())
    try:
        impatient = timedelta(0)
        async with Client(
            run.stack.urls["grpc"], run.stack.demo_key, patience=impatient
        ) as client:
            patient, run.client = run.client, client
            # No repetition: every single call is answered while it is down.
            deadline = time.monotonic() + 4
            while time.monotonic() < deadline:
                await run.send(list(run.mixed(20)))
                await asyncio.sleep(0.2)
            run.client = patient
    finally:
        down.set()
        await keeping
    await run.stack.wait_ready(60)
    lost, doubled = await run.judged(timeout=90)
    assert lost == Counter()
    # Valkey holds the claims, so only its end may cost a double.
    assert victims == ("valkey",) or doubled == Counter()
