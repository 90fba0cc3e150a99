from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest

from clarion.runtime.errors import InvalidArgumentError, UnavailableError
from clarion.runtime.jetstream import (
    JetStreamPublisher,
    StreamFullError,
    Streams,
    declare_streams,
)
from clarion.runtime.jetstream import publisher as publisher_module
from clarion.runtime.streams import work_subject
from clarion.runtime.testing.waiting import wait_until

SUBJECT = work_subject("push", "high")

pytestmark = pytest.mark.integration


async def test_a_repeated_message_id_is_stored_once(streams, pending):
    await streams.publisher.publish(SUBJECT, b"one", message_id="a")
    await streams.publisher.publish(SUBJECT, b"one", message_id="a")

    assert await pending() == 1


async def test_nothing_is_lost_or_doubled_when_the_server_is_killed_and_restarted(
    streams, nats, pending
):
    sent = 0

    async def publish_some(lane: int) -> None:
        nonlocal sent
        for number in range(150):
            await streams.publisher.publish(
                SUBJECT, b"x", message_id=f"{lane}-{number}"
            )
            sent += 1

    publishing = asyncio.gather(*(publish_some(lane) for lane in range(8)))
    await wait_until(lambda: sent > 200)
    nats.kill()
    nats.start()
    await asyncio.wait_for(publishing, 30)

    assert sent == 1200
    assert await pending() == 1200


async def test_publish_gives_up_when_the_server_stays_away(streams, nats):
    publisher = JetStreamPublisher(streams, patience=timedelta(milliseconds=200))
    nats.kill()
    await wait_until(lambda: not streams.is_connected)

    with pytest.raises(UnavailableError):
        await publisher.publish(SUBJECT, b"x", message_id="a")


async def test_a_full_work_queue_refuses_and_takes_again_after_space(streams, consume):
    await declare_streams(streams.js, 1, work_max_bytes=40_000)
    accepted = 0
    with suppress(StreamFullError):
        for number in range(1000):
            await streams.publisher.publish(
                SUBJECT, bytes(1000), message_id=str(number)
            )
            accepted += 1
    assert 0 < accepted < 20

    with pytest.raises(StreamFullError) as caught:
        await streams.publisher.publish(SUBJECT, bytes(1000), message_id="more")
    assert caught.value.retry_after == timedelta(seconds=1)

    handled: list[str] = []

    async def handle(messages) -> None:
        handled.extend(message.headers["Nats-Msg-Id"] for message in messages)

    await consume(handle)
    await wait_until(lambda: len(handled) == accepted)
    async with asyncio.timeout(10):
        while True:  # there is space when what was handled is acknowledged
            with suppress(StreamFullError):
                await streams.publisher.publish(SUBJECT, bytes(1000), message_id="more")
                break
    await wait_until(lambda: handled[-1] == "more")


async def test_a_full_intake_leaves_room_for_the_jobs_that_empty_it(streams):
    await declare_streams(streams.js, 1, work_max_bytes=20_000)
    accepted = work_subject("intake", "low")
    stored = 0
    with suppress(StreamFullError):
        for number in range(1000):
            await streams.publisher.publish(
                accepted, bytes(1000), message_id=str(number)
            )
            stored += 1
    assert stored < 10

    await streams.publisher.publish(SUBJECT, bytes(1000), message_id="job")


async def test_a_message_above_the_servers_limit_is_an_invalid_argument(streams):
    with pytest.raises(InvalidArgumentError):
        await streams.publisher.publish(SUBJECT, bytes(3_000_000), message_id="a")


async def test_headers_travel_and_the_callers_mapping_is_left_alone(streams, consume):
    seen = []

    async def handle(messages) -> None:
        seen.extend(messages)

    await consume(handle)
    headers = {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}
    await streams.publisher.publish(SUBJECT, b"x", message_id="a", headers=headers)
    await wait_until(lambda: seen)

    assert seen[0].headers["traceparent"] == headers["traceparent"]
    assert list(headers) == ["traceparent"]


async def test_the_traceparent_of_the_current_span_is_added(
    streams, consume, monkeypatch
):
    monkeypatch.setattr(publisher_module, "current_traceparent", lambda: "00-a-b-01")
    seen = []

    async def handle(messages) -> None:
        seen.extend(messages)

    await consume(handle)
    await streams.publisher.publish(SUBJECT, b"x", message_id="a")
    await wait_until(lambda: seen)

    assert seen[0].headers["traceparent"] == "00-a-b-01"


async def test_connecting_waits_for_a_server_that_starts_late(nats):
    nats.stop()
    connecting = asyncio.create_task(Streams.connect(nats.url))
    await asyncio.wait([connecting], timeout=0.1)
    nats.start()

    streams = await asyncio.wait_for(connecting, 10)
    await streams.close()


async def test_connecting_gives_up_after_the_start_timeout(nats):
    nats.stop()

    with pytest.raises(UnavailableError):
        await Streams.connect(nats.url, start_timeout=timedelta(milliseconds=200))


async def test_readiness_fails_while_the_server_is_away(streams, nats):
    await streams.check()
    nats.kill()
    await wait_until(lambda: not streams.is_connected)

    with pytest.raises(UnavailableError):
        await streams.check()


async def test_a_connection_that_closes_for_good_is_reported(streams):
    await streams.nc.close()

    assert await asyncio.wait_for(streams.lost, 1)


async def test_an_orderly_close_is_not_reported(nats):
    streams = await Streams.connect(nats.url)
    await streams.close()

    assert not streams.lost.done()


async def test_large_messages_arrive_as_they_were_among_small_ones(streams, consume):
    arrived: dict[str, bytes] = {}

    async def take(messages):
        arrived.update({m.headers["Nats-Msg-Id"]: m.data for m in messages})

    sent = {
        f"{size}-{n}": bytes([n]) * size + b"\r\nPING\r\n"
        for size in (10, 32_000, 32_768, 700_000)
        for n in range(8)
    }
    await consume(take)
    await asyncio.gather(
        *(
            streams.publisher.publish(SUBJECT, body, message_id=id)
            for id, body in sent.items()
        )
    )

    await wait_until(lambda: len(arrived) == len(sent))
    assert arrived == sent


async def test_an_odd_message_id_is_told_as_with_small_messages(streams, pending):
    for body in (b"x", b"x" * 40_000):
        await streams.publisher.publish(SUBJECT, body, message_id=f"é\u2028{len(body)}")
        await streams.publisher.publish(SUBJECT, body, message_id=f"é\u2028{len(body)}")

    assert await pending() == 2
