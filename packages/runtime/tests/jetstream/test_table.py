from __future__ import annotations

import asyncio
import os
import sys
from inspect import ismodule

import pytest

from clarion.runtime import jetstream
from clarion.runtime import streams as table
from clarion.runtime.jetstream import Streams, declare_streams

TOKENS = [
    ("abc-DEF_09", "abc-DEF_09"),
    ("a.b", "a=2Eb"),
    ("*", "=2A"),
    (">", "=3E"),
    ("a b@c", "a=20b=40c"),
    ("ü", "=C3=BC"),
    ("=2E", "=3D2E"),
]


@pytest.mark.parametrize(("text", "token"), TOKENS)
def test_any_text_becomes_one_token(text, token):
    assert table.subject_token(text) == token


def test_an_empty_token_is_refused():
    with pytest.raises(ValueError, match="empty"):
        table.subject_token("")


@pytest.mark.parametrize("make", [table.work_subject, table.due_subject])
def test_unknown_stages_and_lanes_are_refused(make):
    with pytest.raises(ValueError, match="no stage"):
        make("fax", "high")
    with pytest.raises(ValueError, match="no lane"):
        make("push", "urgent")


def test_the_origin_of_a_message_is_in_its_subject():
    assert table.stage_and_lane(table.work_subject("in_app", "low")) == (
        "in_app",
        "low",
    )
    assert table.stage_and_lane(table.due_subject("intake", "high")) == (
        "intake",
        "high",
    )
    part = table.due_subject("intake", "low.overflow.3")
    assert table.stage_and_lane(part) == ("intake", "low")
    assert table.stage_and_lane(table.events_subject("router")) == ("events", "router")
    assert table.stage_and_lane("else") == ("unknown", "unknown")


def test_what_fired_waits_again_in_the_queue_of_its_stage():
    parts = [part for flow in table.FLOWS for part in table.parts_of("intake", flow)]
    for part in parts:
        fired = table.due_subject("intake", part)
        queued = table.work_subject("intake", part)
        assert table.queue_subject(fired) == queued == table.queue_subject(queued)
    assert table.queue_subject("events.push") == "events.push"


def test_every_work_subject_has_one_durable_on_the_queue_of_its_stage():
    queues = {
        durable.filter_subject: durable.stream
        for durable in table.durables()
        if durable.filter_subject.startswith("work.")
    }

    assert queues == {
        table.work_subject(stage, part): table.stream_of(stage)
        for stage in table.STAGES
        for lane in (table.LANES if stage == table.DIGEST else table.FLOWS)
        for part in table.parts_of(stage, lane)
    }


def test_overflows_have_parts_and_the_first_is_named_as_before():
    assert table.parts_of("intake", "low") == ("low",)
    parts = table.parts_of("intake", "low.overflow")
    assert table.parts_of("push", "low.overflow") == parts
    assert len(set(parts)) == table.PARTS
    assert parts[0] == "low.overflow"
    assert table.durable_name("intake", parts[3]) == "intake-low-overflow-3"
    assert {table.flow_of(part) for part in parts} == {"low.overflow"}
    assert {table.lane_of(part) for part in parts} == {"low"}
    assert table.same_part("high", parts[3]) == "high.overflow.3"
    assert table.same_part("high", parts[0]) == "high.overflow"
    with pytest.raises(ValueError, match="no part"):
        table.work_subject("digest", parts[3])
    with pytest.raises(ValueError, match="no part"):
        table.due_subject("intake", f"low.overflow.{table.PARTS}")


def test_a_tenant_has_one_part_everywhere_and_tenants_are_spread_over_all():
    tenants = [f"tenant-{number}" for number in range(400)]
    parts = {table.part_of("low.overflow", tenant) for tenant in tenants}
    assert parts == set(table.parts_of("intake", "low.overflow"))
    # By a hash that is the same in each process and version.
    assert table.part_of("low.overflow", "demo") == "low.overflow"
    assert {table.part_of("low", tenant) for tenant in tenants} == {"low"}


@pytest.mark.parametrize("tenant", ["demo", "a.b", "ü b", "=2E", "*"])
def test_a_schedule_says_whose_it_is(tenant):
    later = table.later_subject("intake", tenant, "1.2")
    assert table.tenant_of(later) == tenant


def test_the_public_names_are_those_imported():
    public = {
        name
        for name, value in vars(jetstream).items()
        if not name.startswith("_") and name != "annotations" and not ismodule(value)
    }

    assert public == set(jetstream.__all__)


@pytest.mark.integration
async def test_declaring_again_changes_limits_and_keeps_messages(streams, pending):
    await streams.publisher.publish("work.push.high", b"x", message_id="a")
    await declare_streams(streams.js, 1, work_max_bytes=123_456)
    await asyncio.gather(*(declare_streams(streams.js, 1) for _ in range(3)))
    info = await streams.js.request("STREAM.INFO.WORK")

    assert info["config"]["max_bytes"] == table.DEFAULT_WORK_MAX_BYTES // 2
    assert await pending() == 1


@pytest.mark.integration
async def test_a_durable_that_is_on_disk_is_made_anew(streams, pending):
    info = await streams.js.request("CONSUMER.INFO.WORK.push-high")
    config = {**info["config"], "mem_storage": False}
    await streams.js.request("CONSUMER.DELETE.WORK.push-high")
    await streams.js.request(
        "CONSUMER.CREATE.WORK.push-high.work.push.high",
        {"stream_name": "WORK", "action": "", "config": config},
    )
    await streams.publisher.publish("work.push.high", b"x", message_id="a")
    await declare_streams(streams.js, 1)
    info = await streams.js.request("CONSUMER.INFO.WORK.push-high")

    assert info["config"]["mem_storage"] is True
    assert info["num_pending"] == 1


@pytest.mark.integration
async def test_the_set_up_job_declares_everything(nats):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-m",
        "clarion.runtime.jetstream.declare",
        env={
            **os.environ,
            "CLARION_NATS_URL": nats.url,
            "CLARION_WORK_MAX_BYTES": "1000000",
        },
    )
    assert await asyncio.wait_for(process.wait(), 30) == 0

    streams = await Streams.connect(nats.url)
    work = await streams.js.request("STREAM.INFO.WORK")
    names = await streams.js.request("CONSUMER.NAMES.WORK")
    await streams.close()
    assert work["config"]["max_bytes"] == 500_000
    assert len(names["consumers"]) == len(table.CHANNELS) * (3 + 3 * table.PARTS)
