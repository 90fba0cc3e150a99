"""``clarion get`` against a server that answers like the mesh."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner
from google.protobuf.json_format import ParseDict

from clarion.api.tracking.v1.tracking_service_pb2 import GetNotificationResponse
from clarion.api.tracking.v1.tracking_service_pb2_grpc import (
    TrackingServiceServicer,
    add_TrackingServiceServicer_to_server,
)
from clarion.client.cli import main

ID = "0197c5a8-6b1e-7c3d-9f2a-1b2c3d4e5f60"
COMMON = {"notification_id": ID, "type": "release", "priority": "low"}
ONE = {
    **COMMON,
    "status": "sent",
    "user_id": "ada",
    "deliveries": [
        {"channel": "push", "status": "sent"},
        {"channel": "sms", "status": "skipped", "reason": "no_address"},
    ],
}
BROADCAST = {"topic": "news", "subscribers": 12}
PAGE = {**COMMON, "status": "spread", "broadcast": BROADCAST}
STATUSES = {"sent": 9, "failed": 3}
ALL = {
    **PAGE,
    "broadcast": {**BROADCAST, "is_complete": True, "statuses": STATUSES},
}


class Tracking(TrackingServiceServicer):
    def __init__(self, record: dict[str, Any]) -> None:
        self.record = record

    async def GetNotification(self, request: Any, context: Any) -> Any:
        return ParseDict({"notification": self.record}, GetNotificationResponse())


@pytest.mark.parametrize(
    ("record", "shown"),
    [
        (
            ONE,
            [
                f"{ID}  sent",
                "release for ada, priority low",
                "  push     sent",
                "  sms      skipped (no_address)",
            ],
        ),
        (
            PAGE,
            [f"{ID}  spread", "release for topic news", "  subscribers: 12 so far"],
        ),
        (
            ALL,
            [
                f"{ID}  spread",
                "release for topic news",
                "  subscribers: 12",
                "    failed: 3",
                "    sent: 9",
            ],
        ),
    ],
    ids=["to one person", "a broadcast on its way", "a broadcast"],
)
async def test_a_record_is_shown_in_lines(
    tmp_path: Path, record: dict[str, Any], shown: list[str]
) -> None:
    server = grpc.aio.server()
    add_TrackingServiceServicer_to_server(Tracking(record), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    key = tmp_path / "key"
    key.write_text("secret")
    where = ["--target", f"127.0.0.1:{port}", "--key-file", str(key)]
    run = CliRunner().invoke
    answer = await asyncio.to_thread(run, main, ["get", ID, *where])
    await server.stop(0)
    assert answer.output.splitlines() == shown
