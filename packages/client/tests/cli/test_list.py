"""``clarion list`` against a server that answers like the mesh."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result

from clarion.api.tracking.v1.tracking_service_pb2 import (
    ListNotificationsRequest,
    ListNotificationsResponse,
)
from clarion.api.tracking.v1.tracking_service_pb2_grpc import (
    TrackingServiceServicer,
    add_TrackingServiceServicer_to_server,
)
from clarion.client.cli import main

BROADCAST = "0197c5a8-6b1e-7c3d-9f2a-1b2c3d4e5f60"
Run = Callable[..., Awaitable[Result]]


class Tracking(TrackingServiceServicer):
    """Five notifications, two a page."""

    def __init__(self) -> None:
        self.asked: list[ListNotificationsRequest] = []

    async def ListNotifications(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        start = int(request.page_token or 0)
        answer = ListNotificationsResponse()
        for number in range(start, min(start + 2, 5)):
            record = answer.notifications.add(
                notification_id=f"n-{number}",
                status="sent",
                type="news",
                user_id=f"user-{number}",
            )
            record.deliveries.add(channel="push", status="sent")
            record.deliveries.add(channel="sms", status="skipped", reason="no_address")
        if start + 2 < 5:
            answer.next_page_token = str(start + 2)
        return answer


@pytest.fixture
def tracking() -> Tracking:
    return Tracking()


@pytest.fixture
async def run(tracking: Tracking, tmp_path: Path) -> AsyncIterator[Run]:
    server = grpc.aio.server()
    add_TrackingServiceServicer_to_server(tracking, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    key = tmp_path / "key"
    key.write_text("secret")
    where = ["--target", f"127.0.0.1:{port}", "--key-file", str(key)]

    async def call(*words: str) -> Result:
        return await asyncio.to_thread(
            CliRunner().invoke, main, ["list", *words, *where]
        )

    yield call
    await server.stop(0)


async def test_all_pages_are_shown_a_line_each(run: Run, tracking: Tracking) -> None:
    shown = await run("--broadcast", BROADCAST, "--status", "sent", "--limit", "0")
    lines = shown.output.splitlines()
    assert lines[0] == (
        "n-0  sent       news for user-0: push sent, sms skipped (no_address)"
    )
    assert [line.split()[0] for line in lines] == [f"n-{n}" for n in range(5)]
    assert {(one.broadcast_id, one.status) for one in tracking.asked} == {
        (BROADCAST, "sent")
    }


async def test_no_more_pages_are_read_than_are_shown(
    run: Run, tracking: Tracking
) -> None:
    shown = await run("--limit", "3", "--to", "ada", "--type", "news", "--json")
    ids = [json.loads(line)["notification_id"] for line in shown.output.splitlines()]
    assert ids == ["n-0", "n-1", "n-2"]
    assert len(tracking.asked) == 2
    assert (tracking.asked[0].user_id, tracking.asked[0].type) == ("ada", "news")
