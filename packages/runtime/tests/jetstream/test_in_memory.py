from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from clarion.runtime.jetstream import (
    InMemoryPublisher,
    InMemoryScheduler,
    StreamFullError,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


async def test_the_double_fails_on_request():
    publisher = InMemoryPublisher()
    publisher.error = StreamFullError()

    with pytest.raises(StreamFullError):
        await publisher.publish("work.push.high", b"x", message_id="a")
    assert publisher.published == []
    assert publisher.tries == 1


async def test_firing_takes_out_what_is_due_earliest_first():
    scheduler = InMemoryScheduler()
    for seconds in (3, 1, 2):
        await scheduler.schedule(
            f"later.send.demo.{seconds}",
            target="due.push.high",
            due=NOW + timedelta(seconds=seconds),
            body=b"%d" % seconds,
            message_id=str(seconds),
        )
    fired = scheduler.fire(NOW + timedelta(seconds=2))

    assert [entry.body for entry in fired] == [b"1", b"2"]
    assert list(scheduler.scheduled) == ["later.send.demo.3"]
