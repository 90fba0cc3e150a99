from __future__ import annotations

from typing import Any

import pytest
from google.rpc import code_pb2

from clarion.api.event.v1.notification_event_pb2 import EVENT_KIND_DECIDED
from clarion.router import routing
from clarion.router.in_memory import InMemoryNeighbours
from clarion.router.routing import Router
from clarion.runtime.errors import UnavailableError
from clarion.runtime.jetstream.errors import StreamFullError
from clarion.runtime.testing import FakeClock, capture_spans


@pytest.fixture
def router(neighbours: InMemoryNeighbours, outbox: Any, clock: FakeClock) -> Router:
    return Router(neighbours, outbox.publisher, clock)


def decisions(outbox: Any) -> list[tuple[str, str, str]]:
    return [
        (channel.channel, channel.outcome, channel.reason)
        for event in outbox.events
        for channel in event.decided.decision.channels
    ]


async def test_a_notification_becomes_jobs_and_one_decision(
    router: Router, outbox: Any, make_item: Any
) -> None:
    await router.route([make_item(channels=["push", "email"], priority="high")])
    assert {message.subject for message in outbox.publisher.published} == {
        "work.push.high",
        "work.email.high",
        "events.router",
    }
    assert len(outbox.jobs) == 3
    (event,) = outbox.events
    assert event.kind == EVENT_KIND_DECIDED


async def test_a_batch_asks_each_neighbour_once_for_each_tenant(
    router: Router, outbox: Any, neighbours: InMemoryNeighbours, make_item: Any
) -> None:
    items = [make_item(tenant) for tenant in ("a", "b") for _ in range(20)]
    await router.route(items)
    assert neighbours.calls == {"recipients": 2, "acquire": 2, "render": 2}
    assert {job.tenant_id for job in outbox.jobs} == {"a", "b"}
    assert len(outbox.events) == 40


async def test_jobs_of_a_batch_travel_in_one_chunk_a_subject(
    router: Router, outbox: Any, make_item: Any
) -> None:
    await router.route([make_item(channels=["email"]) for _ in range(100)])
    assert len(outbox.publisher.published) == 2
    assert len(outbox.jobs) == 100


async def test_a_large_batch_is_routed_in_runs_and_keeps_its_order(
    router: Router,
    outbox: Any,
    make_item: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(routing, "MOST_AT_ONCE", 30)
    items = [make_item(channels=["email"]) for _ in range(100)]
    await router.route(items)
    assert [job.notification_id for job in outbox.jobs] == [
        item.notification_id for item in items
    ]


async def test_who_gets_nothing_costs_no_permit_and_no_rendering(
    router: Router, outbox: Any, neighbours: InMemoryNeighbours, make_item: Any
) -> None:
    await router.route([make_item(user_id="nobody", channels=["push"])])
    assert decisions(outbox) == [("push", "skipped", "unknown_recipient")]
    assert neighbours.calls == {"recipients": 1}


async def test_a_full_limit_takes_every_channel(
    router: Router, outbox: Any, neighbours: InMemoryNeighbours, make_item: Any
) -> None:
    neighbours.limited["promotional"] = "daily"
    items = [
        make_item(type="newsletter", channels=["push", "email"]),
        make_item(channels=["email"]),
    ]
    await router.route(items)
    assert decisions(outbox) == [
        ("push", "rate_limited", "daily_limit"),
        ("email", "rate_limited", "daily_limit"),
        ("email", "planned", ""),
    ]
    assert len(outbox.jobs) == 1


async def test_a_template_that_fails_fails_its_notification_alone(
    router: Router, outbox: Any, neighbours: InMemoryNeighbours, make_item: Any
) -> None:
    neighbours.broken["gone"] = code_pb2.NOT_FOUND
    items = [make_item(channels=["email"], template_id=id) for id in ("gone", "here")]
    await router.route(items)
    assert decisions(outbox) == [
        ("email", "failed", "template_not_found"),
        ("email", "planned", ""),
    ]


async def test_a_permit_that_nothing_was_rendered_for_is_given_back(
    router: Router, neighbours: InMemoryNeighbours, make_item: Any
) -> None:
    neighbours.broken["gone"] = code_pb2.NOT_FOUND
    failed = make_item(channels=["email", "sms"], template_id="gone")
    sent, skipped = make_item(), make_item(user_id="nobody")
    await router.route([failed, sent, skipped])
    assert set(neighbours.permits) == {sent.notification_id}
    assert neighbours.calls["release"] == 1


async def test_a_notification_that_is_there_twice_is_routed_once(
    router: Router, outbox: Any, make_item: Any
) -> None:
    item = make_item(notification_id="n", channels=["email"], title="first")
    again = make_item(notification_id="n", channels=["email"], title="second")
    await router.route([item, again])
    assert [job.content.title for job in outbox.jobs] == ["first"]
    assert len(outbox.events) == 1


@pytest.mark.parametrize("neighbour", ["recipients", "acquire", "render"])
async def test_a_failing_neighbour_leaves_nothing_half_done(
    neighbour: str,
    router: Router,
    outbox: Any,
    neighbours: InMemoryNeighbours,
    make_item: Any,
) -> None:
    neighbours.errors[neighbour].append(UnavailableError())
    items = [make_item() for _ in range(3)]
    with pytest.raises(UnavailableError):
        await router.route(items)
    assert not outbox.publisher.published
    await router.route(items)
    assert len(outbox.events) == 3
    assert len(neighbours.permits) == 3  # by request id: the same ones


class FailingOnce:
    """Publishes all but the first message to one subject, which meets an error."""

    def __init__(self, inner: Any, subject: str, error: Exception) -> None:
        self.inner, self.subject, self.error = inner, subject, error
        self.has_failed = False

    async def publish(self, subject: str, body: bytes, **more: Any) -> None:
        if subject == self.subject and not self.has_failed:
            self.has_failed = True
            raise self.error
        await self.inner.publish(subject, body, **more)


@pytest.mark.parametrize("subject", ["work.push.medium", "events.router"])
@pytest.mark.parametrize("error", [UnavailableError(), StreamFullError()])
async def test_what_was_published_before_a_failure_is_folded_when_routed_again(
    subject: str,
    error: Exception,
    outbox: Any,
    neighbours: InMemoryNeighbours,
    make_item: Any,
    clock: FakeClock,
) -> None:
    publisher: Any = FailingOnce(outbox.publisher, subject, error)
    router = Router(neighbours, publisher, clock)
    items = [make_item() for _ in range(3)]
    with pytest.raises(type(error)):
        await router.route(items)
    assert len(outbox.publisher.published) == 2
    await router.route(items)
    assert len(outbox.publisher.published) == 3
    ids = [job.delivery_id for job in outbox.jobs]
    assert len(ids) == len(set(ids)) == 9
    assert len(outbox.events) == 3


async def test_one_tenants_failure_does_not_leave_another_running(
    router: Router, outbox: Any, neighbours: InMemoryNeighbours, make_item: Any
) -> None:
    neighbours.errors["recipients"].append(UnavailableError())
    with pytest.raises(UnavailableError):
        await router.route([make_item("a"), make_item("b")])
    # When route ends, all of it has ended: b is done.
    assert {event.tenant_id for event in outbox.events} == {"b"}


TRACE = "00-{n:032x}-{n:016x}-{sampled}"


async def test_every_sampled_notification_has_a_span_in_its_own_trace(
    router: Router, outbox: Any, make_item: Any
) -> None:
    items = [make_item(channels=["email"]) for _ in range(3)]
    for number, item in enumerate(items, 1):
        item.trace_parent = TRACE.format(n=number, sampled=f"0{number % 2}")
    with capture_spans() as spans:
        await router.route(items)
    traces: Any = {span.context.trace_id: span for span in spans.finished}
    assert set(traces) == {1, 3}
    assert all(trace == span.parent.trace_id for trace, span in traces.items())
    handed_over = [job.trace_parent for job in outbox.jobs]
    assert handed_over[1] == items[1].trace_parent
    for place, number in ((0, 1), (2, 3)):
        own = traces[number].context.span_id
        assert handed_over[place] == f"00-{number:032x}-{own:016x}-01"
