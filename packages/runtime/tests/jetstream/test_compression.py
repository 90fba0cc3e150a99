from __future__ import annotations

import asyncio
import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.runtime.jetstream import (
    AdvisoryWorker,
    JetStreamPublisher,
    PoisonError,
    Streams,
)
from clarion.runtime.jetstream.compression import (
    ENCODING,
    MOST_BYTES,
    WORTH_BYTES,
    compressed,
    published,
    published_size,
)
from clarion.runtime.jetstream.dead_letters import StoredDeadLetter, read_message
from clarion.runtime.streams import work_subject
from clarion.runtime.testing.waiting import wait_until

SUBJECT = work_subject("push", "high")
ADVISORY = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.WORK.push-high"
LARGE = b"what the items of a chunk have in common" * 1000


@given(st.binary(max_size=100), st.integers(0, 3 * WORTH_BYTES))
def test_what_is_published_comes_back(piece, size):
    body = (piece or b"\0") * (size // max(len(piece), 1) + 1)
    headers: dict[str, str] = {"Clarion-Tenant": "demo"}
    stored = compressed(body, headers)

    assert published(stored, headers) == (body, {"Clarion-Tenant": "demo"})
    assert published_size(stored, headers) == len(body)
    assert (ENCODING in headers) is (len(body) >= WORTH_BYTES)


@pytest.mark.parametrize(
    "headers", [{"Nats-Schedule": "@at 2026-11-23T00:00:00Z"}, {ENCODING: "zstd"}]
)
def test_a_schedule_and_what_is_compressed_already_stay_as_they_are(headers):
    before = dict(headers)

    assert compressed(LARGE, headers) is LARGE
    assert headers == before


def frames(*bodies: bytes) -> bytes:
    return b"".join(compressed(body, {}) for body in bodies)


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (b"", "zstd"),
        (b"not a frame", "zstd"),
        (frames(LARGE)[:-1], "zstd"),
        (frames(LARGE) + b"x", "zstd"),
        (frames(LARGE, LARGE), "zstd"),
        (frames(LARGE), "gzip"),
    ],
    ids=["empty", "other", "cut", "behind", "two frames", "encoding"],
)
def test_what_is_not_what_its_header_says_is_poison(data, encoding):
    with pytest.raises(PoisonError) as raised:
        published(data, {ENCODING: encoding})

    assert raised.value.word == "undecodable"


def test_only_so_much_is_decompressed():
    most = bytes(MOST_BYTES)
    assert published(frames(most), {ENCODING: "zstd"}) == (most, {})

    with pytest.raises(PoisonError, match=f"at most {MOST_BYTES}"):
        published(frames(bytes(MOST_BYTES + 1)), {ENCODING: "zstd"})


async def first_letter(streams: Streams) -> StoredDeadLetter:
    async with asyncio.timeout(10):
        while not (  # noqa: ASYNC110 - the server's state
            letters := (await streams.dead_letters.page()).letters
        ):
            await asyncio.sleep(0.01)
    return letters[0]


async def stored_body(streams: Streams, sequence: int = 1) -> tuple[bytes, str]:
    """As the server has it, and how it says that it is encoded."""
    answer = await streams.js.request("STREAM.MSG.GET.WORK", {"seq": sequence})
    message = answer["message"]
    headers = base64.b64decode(message.get("hdrs", "")).decode()
    encoding = headers.partition(f"{ENCODING}:")[2].partition("\r\n")[0].strip()
    return base64.b64decode(message["data"]), encoding


@pytest.mark.integration
async def test_a_large_message_is_stored_compressed_and_handled_as_published(
    streams, consume
):
    handled: list[tuple[bytes, dict[str, str]]] = []

    async def handle(messages) -> None:
        handled.extend((one.data, dict(one.headers)) for one in messages)

    await streams.publisher.publish(SUBJECT, LARGE, message_id="a")
    await streams.publisher.publish(SUBJECT, b"small", message_id="b")
    data, encoding = await stored_body(streams)
    await consume(handle)
    await wait_until(lambda: len(handled) == 2)

    assert len(data) < len(LARGE) / 20
    assert encoding == "zstd"
    assert handled == [
        (LARGE, {"Nats-Msg-Id": "a"}),
        (b"small", {"Nats-Msg-Id": "b"}),
    ]


@pytest.mark.integration
async def test_nothing_is_compressed_while_older_processes_read(streams, consume):
    handled: list[bytes] = []

    async def handle(messages) -> None:
        handled.extend(one.data for one in messages)

    publisher = JetStreamPublisher(streams, compresses=False)
    await publisher.publish(SUBJECT, LARGE, message_id="a")
    assert await stored_body(streams) == (LARGE, "")
    await consume(handle)
    await wait_until(lambda: handled == [LARGE])


@pytest.mark.integration
async def test_batches_are_bounded_by_what_they_are_when_they_are_handled(
    streams, consume
):
    calls: list[int] = []

    async def handle(messages) -> None:
        calls.append(len(messages))

    for number in range(4):
        await streams.publisher.publish(SUBJECT, LARGE, message_id=str(number))
    await consume(handle, concurrency=1, max_bytes=2 * len(LARGE))
    await wait_until(lambda: sum(calls) == 4)

    assert max(calls) <= 2


@pytest.mark.integration
async def test_what_cannot_be_decompressed_becomes_a_dead_letter_as_it_is(
    streams, consume
):
    handled: list[bytes] = []

    async def handle(messages) -> None:
        handled.extend(one.data for one in messages)

    broken = frames(LARGE)[:-4]
    await streams.publisher.publish(
        SUBJECT, broken, message_id="a", headers={ENCODING: "zstd"}
    )
    await streams.publisher.publish(SUBJECT, b"fine", message_id="b")
    await consume(handle)
    stored = await first_letter(streams)

    assert stored.letter.reason == "undecodable"
    assert stored.letter.body == broken
    assert stored.letter.headers[ENCODING] == "zstd"
    assert handled == [b"fine"]


@pytest.mark.integration
async def test_a_dead_letter_holds_the_message_readable_and_is_redriven(
    streams, consume
):
    handled: list[bytes] = []
    is_mended = False

    async def handle(messages) -> None:
        if not is_mended:
            raise PoisonError("no_way")
        handled.extend(one.data for one in messages)

    await streams.publisher.publish(SUBJECT, LARGE, message_id="a")
    await consume(handle)
    stored = await first_letter(streams)
    assert stored.letter.body == LARGE
    assert ENCODING not in stored.letter.headers

    is_mended = True
    await streams.dead_letters.redrive(stored)
    await wait_until(lambda: handled == [LARGE])
    assert await read_message(streams, "DLQ", {"seq": stored.sequence}) is None


@pytest.mark.integration
async def test_what_is_buried_by_an_advisory_is_readable(streams):
    await streams.publisher.publish(SUBJECT, LARGE, message_id="a")
    worker = AdvisoryWorker(streams)
    await worker.start()
    told = {"stream": "WORK", "stream_seq": 1, "deliveries": 20}
    await streams.nc.publish(ADVISORY, json.dumps(told).encode())
    stored = await first_letter(streams)
    await worker.stop()

    assert stored.letter.body == LARGE
    assert ENCODING not in stored.letter.headers


@pytest.mark.integration
async def test_a_message_is_known_again_however_it_is_stored(streams, pending):
    for compresses in (True, False):
        publisher = JetStreamPublisher(streams, compresses=compresses)
        await publisher.publish(SUBJECT, LARGE, message_id="a")

    assert await pending() == 1
