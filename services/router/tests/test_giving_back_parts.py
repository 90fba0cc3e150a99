"""A notification that is decided in parts: its permit is one, and so is its count."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from google.rpc import code_pb2

from clarion.api.event.v1.work_pb2 import DeliveryJob, IntakeChunk, IntakeItem
from clarion.api.recipients.v1.recipient_pb2 import QuietHours
from clarion.router.cancelling import Cancellation, InMemoryCancelMarks
from clarion.router.consumers import IntakeHandler
from clarion.router.giving_back import GivingBack
from clarion.router.in_memory import UNKNOWN, InMemoryNeighbours
from clarion.router.routing import Router
from clarion.router.strategies.escalations import InMemoryEscalations
from clarion.router.strategies.stepping import Stepping
from clarion.runtime.delivery.unsent import Unsent
from clarion.runtime.delivery.unsent_counts import (
    InMemoryUnsentCounts,
    UnsentCounts,
    ValkeyUnsentCounts,
)
from clarion.runtime.errors import InvalidArgumentError, UnavailableError
from clarion.runtime.jetstream import (
    GroupPublisher,
    Inbound,
    InMemoryPublisher,
    InMemoryScheduler,
)
from clarion.runtime.testing import FakeClock

NOON_IS_QUIET = QuietHours(start="11:00", end="13:00", timezone="Europe/London")
PARTED = ["push", "in_app"]
"""At noon push waits and in_app does not."""


class Mesh:
    """A router and what the channels tell it."""

    def __init__(
        self,
        neighbours: InMemoryNeighbours,
        outbox: Any,
        clock: FakeClock,
        counts: UnsentCounts,
    ) -> None:
        self.neighbours, self.outbox, self.clock = neighbours, outbox, clock
        self.counts, self.scheduler = counts, InMemoryScheduler()
        self.giving_back = GivingBack(neighbours, self.scheduler, clock, counts)
        self.router = Router(
            neighbours,
            outbox.publisher,
            clock,
            self.scheduler,
            stepping=Stepping(InMemoryEscalations(clock.now), self.scheduler),
            giving_back=self.giving_back,
        )

    @property
    def is_counted(self) -> bool:
        return bool(self.neighbours.permits)

    @property
    def jobs(self) -> list[DeliveryJob]:
        jobs: list[DeliveryJob] = self.outbox.jobs
        return jobs

    def on(self, channel: str) -> list[DeliveryJob]:
        return [job for job in self.jobs if job.channel == channel]

    async def fire(self, after: timedelta = timedelta(hours=1)) -> None:
        """What is due then comes back."""
        self.clock.advance(after)
        for fired in self.scheduler.fire(self.clock.now()):
            await self.router.route(IntakeChunk.FromString(fired.body).items)

    async def end(
        self, jobs: Sequence[DeliveryJob], *, withdrawn: bool = False
    ) -> None:
        """They end unsent, each told twice, and the router hears of it."""
        publisher = InMemoryPublisher()
        unsent = Unsent(self.counts, publisher, self.scheduler, self.clock)
        ids = {job.delivery_id for job in jobs} if withdrawn else set()
        for job in jobs:
            await unsent.ended([job], ids)
            await unsent.ended([job], ids)
        for message in publisher.published:
            await self.router.route(IntakeChunk.FromString(message.body).items)

    async def cancel(self, notification_id: str) -> str:
        events: GroupPublisher[bytes] = GroupPublisher(
            InMemoryPublisher(), "events.router", b"".join
        )
        cancellation = Cancellation(
            self.scheduler,
            InMemoryCancelMarks(),
            events,
            self.clock,
            giving_back=self.giving_back,
        )
        try:
            return await cancellation.cancel("demo", notification_id)
        finally:
            await events.close()


@pytest.fixture(
    params=["memory", pytest.param("valkey", marks=pytest.mark.integration)]
)
def counts(request: pytest.FixtureRequest) -> UnsentCounts:
    if request.param == "memory":
        return InMemoryUnsentCounts()
    return ValkeyUnsentCounts(request.getfixturevalue("redis"))


@pytest.fixture
def mesh(
    neighbours: InMemoryNeighbours,
    outbox: Any,
    clock: FakeClock,
    counts: UnsentCounts,
    person: Any,
) -> Mesh:
    neighbours.people["ada"] = person(quiet_hours=NOON_IS_QUIET)
    return Mesh(neighbours, outbox, clock, counts)


async def test_parts_that_all_end_unsent_are_given_back(
    mesh: Mesh, make_item: Any
) -> None:
    await mesh.router.route([make_item(channels=PARTED)])
    await mesh.end(mesh.on("in_app"))
    assert mesh.is_counted  # push may still go out
    await mesh.fire()
    assert [job.deliveries for job in mesh.on("push")] == [3, 3]
    await mesh.end(mesh.on("push")[:1])
    assert mesh.is_counted
    await mesh.end(mesh.on("push")[1:])
    assert not mesh.is_counted


async def test_a_part_that_was_sent_keeps_the_permit_of_all(
    mesh: Mesh, make_item: Any
) -> None:
    await mesh.router.route([make_item(channels=PARTED)])
    await mesh.fire()
    await mesh.end(mesh.on("push"))
    assert mesh.is_counted
    # But nothing is counted for the channel that sent nothing.
    (permit,) = mesh.neighbours.permits.values()
    assert "push" not in permit.channels


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_the_order_in_which_parts_end_does_not_matter(
    mesh: Mesh, make_item: Any, order: tuple[int, ...]
) -> None:
    await mesh.router.route([make_item(channels=PARTED)])
    await mesh.fire()
    for place in order:
        assert mesh.is_counted
        await mesh.end([mesh.jobs[place]])
    assert not mesh.is_counted


async def test_a_part_that_is_not_sent_at_its_release_is_waited_for_no_longer(
    mesh: Mesh, make_item: Any
) -> None:
    before, after = make_item(channels=PARTED), make_item(channels=PARTED)
    await mesh.router.route([before, after])
    await mesh.end(mesh.on("in_app")[:1])
    mesh.neighbours.people["ada"] = UNKNOWN
    await mesh.fire()
    assert set(mesh.neighbours.permits) == {after.notification_id}
    await mesh.end(mesh.on("in_app")[1:])
    assert not mesh.is_counted


async def test_what_is_released_as_a_whole_is_given_back(
    mesh: Mesh, make_item: Any, person: Any
) -> None:
    # The mail was decided for good before, without a delivery.
    mesh.neighbours.people["ada"] = person(
        quiet_hours=NOON_IS_QUIET, email_enabled=False
    )
    await mesh.router.route([make_item(channels=["push", "email"])])
    await mesh.fire()
    await mesh.end(mesh.jobs)
    assert len(mesh.jobs) == 2
    assert not mesh.is_counted


async def test_a_chain_is_given_back_when_its_last_channel_ended_unsent(
    mesh: Mesh, make_item: Any, person: Any
) -> None:
    mesh.neighbours.people["ada"] = person()
    item = make_item(channels=["push", "sms", "email"], strategy="first_available")
    await mesh.router.route([item])
    for channel in item.notification.channels:
        jobs = mesh.on(channel)
        await mesh.end(jobs)
        if jobs[0].fallback:
            assert mesh.is_counted
            await mesh.router.route([IntakeItem.FromString(jobs[0].fallback)])
    assert [job.deliveries for job in mesh.jobs] == [2, 2, 3, 4]
    assert not mesh.is_counted


async def test_a_chain_whose_other_channels_are_impossible_is_given_back(
    mesh: Mesh, make_item: Any, person: Any
) -> None:
    mesh.neighbours.people["ada"] = person()
    item = make_item(channels=["push", "sms"], strategy="first_available")
    await mesh.router.route([item])
    await mesh.end(mesh.jobs)
    mesh.neighbours.people["ada"] = person(sms_enabled=False)
    await mesh.router.route([IntakeItem.FromString(mesh.jobs[0].fallback)])
    assert not mesh.is_counted


async def test_a_chain_that_is_cancelled_is_given_back_unless_a_step_was_sent(
    mesh: Mesh, make_item: Any, person: Any
) -> None:
    mesh.neighbours.people["ada"] = person()
    chain = {"channels": ["in_app", "sms"], "strategy": "first_available"}
    gone, stepped = make_item(**chain), make_item(**chain)
    await mesh.router.route([gone, stepped])
    first, second = mesh.jobs
    # A second channel was used while the first one was still tried.
    await mesh.router.route([IntakeItem.FromString(second.fallback)])
    await mesh.end([first, second], withdrawn=True)
    assert set(mesh.neighbours.permits) == {stepped.notification_id}
    await mesh.end(mesh.on("sms"), withdrawn=True)
    assert not mesh.is_counted


@pytest.mark.parametrize("first", ["cancel", "end"])
async def test_a_cancel_of_what_waits_ends_the_count(
    mesh: Mesh, make_item: Any, first: str
) -> None:
    item, other = make_item(channels=PARTED), make_item(channels=PARTED)
    await mesh.router.route([item, other])
    job = mesh.on("in_app")[:1]
    if first == "end":
        await mesh.end(job)
    assert await mesh.cancel(item.notification_id) == "cancelled"
    if first == "cancel":
        await mesh.end(job, withdrawn=True)
    assert set(mesh.neighbours.permits) == {other.notification_id}


async def test_a_cancel_without_valkey_can_be_repeated(
    mesh: Mesh, make_item: Any
) -> None:
    if not isinstance(mesh.counts, InMemoryUnsentCounts):
        pytest.skip("needs a double that fails")
    item = make_item(channels=PARTED)
    await mesh.router.route([item])
    await mesh.end(mesh.on("in_app"))
    mesh.counts.error = UnavailableError()
    with pytest.raises(UnavailableError):
        await mesh.cancel(item.notification_id)


async def test_a_part_is_counted_before_its_jobs_are_stored(
    mesh: Mesh, make_item: Any
) -> None:
    if not isinstance(mesh.counts, InMemoryUnsentCounts):
        pytest.skip("needs a double that fails")
    await mesh.router.route([make_item(channels=PARTED)])
    mesh.counts.error = UnavailableError()
    with pytest.raises(UnavailableError):
        await mesh.fire()
    assert not mesh.on("push")


async def test_what_expires_while_a_neighbour_is_down_is_given_back(
    mesh: Mesh, make_item: Any, person: Any, clock: FakeClock
) -> None:
    mesh.neighbours.people["ada"] = person()
    item, other = make_item(), make_item()
    item.notification.expires_at.FromDatetime(clock.now() + timedelta(seconds=5))
    mesh.neighbours.errors["render"].append(UnavailableError())
    with pytest.raises(UnavailableError):
        await mesh.router.route([item, other])
    assert set(mesh.neighbours.permits) == {item.notification_id, other.notification_id}
    clock.advance(timedelta(seconds=6))
    await mesh.router.route([item, other])
    assert set(mesh.neighbours.permits) == {other.notification_id}


async def test_what_may_have_been_handed_over_keeps_its_permit(
    mesh: Mesh, make_item: Any, person: Any, clock: FakeClock
) -> None:
    mesh.neighbours.people["ada"] = person()
    item = make_item()
    item.notification.expires_at.FromDatetime(clock.now() + timedelta(seconds=5))
    mesh.outbox.publisher.error = UnavailableError()
    with pytest.raises(UnavailableError):
        await mesh.router.route([item])
    mesh.outbox.publisher.error = None
    clock.advance(timedelta(seconds=6))
    await mesh.router.route([item])
    assert mesh.is_counted


async def test_a_dead_letter_that_took_a_permit_gives_it_back(
    mesh: Mesh, make_item: Any, person: Any, clock: FakeClock
) -> None:
    mesh.neighbours.people["ada"] = person()
    mesh.neighbours.errors["render"].append(InvalidArgumentError("a bug"))
    handler = IntakeHandler(
        mesh.router, mesh.outbox.publisher, giving_back=mesh.giving_back
    )
    body = IntakeChunk(items=[make_item()]).SerializeToString()
    letter = Inbound("work.intake.high", body, {}, "INTAKE", 1, 5, clock.now())
    with pytest.raises(InvalidArgumentError):
        await handler([letter])
    assert mesh.is_counted
    await handler.given_up(letter)
    assert not mesh.is_counted
    # Redriven, it asks anew; and once more nothing happens.
    await handler([letter])
    await handler.given_up(letter)
    assert mesh.is_counted


async def test_what_could_not_be_rendered_in_its_last_part_is_given_back(
    mesh: Mesh, make_item: Any
) -> None:
    await mesh.router.route([make_item(channels=PARTED, template_id="greeting")])
    await mesh.end(mesh.on("in_app"))
    mesh.neighbours.broken["greeting"] = code_pb2.NOT_FOUND
    await mesh.fire()
    assert not mesh.on("push")
    assert not mesh.is_counted
