"""``clarion explain`` against servers that answer like the mesh."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result
from google.protobuf.json_format import ParseDict

from clarion.api.router.v1.notification_service_pb2 import (
    ExplainNotificationResponse as DryRun,
)
from clarion.api.router.v1.notification_service_pb2_grpc import (
    NotificationServiceServicer,
    add_NotificationServiceServicer_to_server,
)
from clarion.api.tracking.v1.tracking_service_pb2 import (
    ExplainNotificationResponse as Explanation,
)
from clarion.api.tracking.v1.tracking_service_pb2_grpc import (
    TrackingServiceServicer,
    add_TrackingServiceServicer_to_server,
)
from clarion.client.cli import main

ID = "0197c5a8-6b1e-7c3d-9f2a-1b2c3d4e5f60"
SENT = ParseDict(
    {
        "notification_id": ID,
        "status": "sent",
        "summary": "sent: push sent, sms skipped (channel_disabled)",
        "user_id": "ada",
        "type": "order_confirmation",
        "category": "order_updates",
        "priority": "high",
        "accepted_time": "2026-11-22T12:00:00Z",
        "channels": [
            {
                "channel": "push",
                "status": "sent",
                "summary": "the provider took it, after 2 attempts",
                "verdicts": [
                    {
                        "decided_time": "2026-11-22T12:00:00.005Z",
                        "decision": {
                            "channel": "push",
                            "outcome": "deferred",
                            "reason": "quiet_hours",
                            "release_time": "2026-11-22T14:00:00Z",
                        },
                        "rules": [
                            {
                                "rule": "quiet_hours",
                                "channel": "push",
                                "outcome": "defer",
                                "detail": "12:00 to 14:00 UTC",
                            }
                        ],
                        "preferences_version": "4",
                    },
                    {
                        "release": 1,
                        "decided_time": "2026-11-22T14:00:00.005Z",
                        "decision": {
                            "channel": "push",
                            "outcome": "planned",
                            "template_id": "order",
                            "template_version": 3,
                        },
                        "preferences_version": "4",
                        "default_preferences_version": "2",
                    },
                ],
                "deliveries": [
                    {
                        "device_id": "d1",
                        "delivery": {
                            "delivery_id": "d-1",
                            "status": "sent",
                            "attempts": [
                                {
                                    "attempt": 1,
                                    "provider": "fcm",
                                    "outcome": "retrying",
                                    "reason": "timeout",
                                    "attempt_time": "2026-11-22T14:00:01Z",
                                },
                                {
                                    "attempt": 2,
                                    "provider": "fcm",
                                    "outcome": "sent",
                                    "attempt_time": "2026-11-22T14:00:02Z",
                                    "provider_latency": "0.035s",
                                },
                            ],
                        },
                        "receipts": [
                            {"event": "delivered", "time": "2026-11-22T14:00:03Z"}
                        ],
                        "dead_letters": [
                            {
                                "time": "2026-11-22T14:00:04Z",
                                "reason": "attempts_exhausted",
                                "redriven_time": "2026-11-22T15:00:00Z",
                            }
                        ],
                    }
                ],
            },
            {
                "channel": "sms",
                "status": "skipped",
                "reason": "channel_disabled",
                "summary": "not sent: the channel is switched off",
            },
        ],
        "timeline": [{"event": "scheduled", "time": "2026-11-22T11:00:00Z"}],
    },
    Explanation(),
)
SENT_TREE = """\
0197c5a8-6b1e-7c3d-9f2a-1b2c3d4e5f60  sent
├── sent: push sent, sms skipped (channel_disabled)
├── type order_confirmation  category order_updates  to ada  lane high  accepted
│   2026-11-22T12:00:00.000Z
├── push  sent
│   ├── the provider took it, after 2 attempts
│   ├── 2026-11-22T12:00:00.005Z  decided: deferred  preferences v4
│   │   ├── until 2026-11-22T14:00:00.000Z
│   │   └── ◷ quiet_hours  12:00 to 14:00 UTC
│   ├── 2026-11-22T14:00:00.005Z  decided again (1): planned  preferences v4, \
defaults v2
│   │   ├── template order v3
│   │   └── ✓ every rule was passed
│   └── delivery d-1 to device d1: sent
│       ├── 2026-11-22T14:00:01.000Z  attempt 1 fcm: retrying  timeout
│       ├── 2026-11-22T14:00:02.000Z  attempt 2 fcm: sent  35 ms
│       ├── 2026-11-22T14:00:03.000Z  delivered
│       └── 2026-11-22T14:00:04.000Z  dead letter: attempts_exhausted, sent again
│           2026-11-22T15:00:00.000Z
├── sms  skipped  channel_disabled
│   └── not sent: the channel is switched off
└── the notification as a whole
    └── 2026-11-22T11:00:00.000Z  scheduled
"""
DRY_RUN = ParseDict(
    {
        "decision": {
            "category": "order_updates",
            "priority": "medium",
            "default_preferences_version": "2",
            "channels": [
                {"channel": "email", "outcome": "planned", "template_id": "order"},
                {
                    "channel": "sms",
                    "outcome": "skipped",
                    "reason": "category_disabled",
                },
            ],
            "rules": [
                {"rule": "expiry", "outcome": "pass", "detail": "never"},
                {
                    "rule": "category_preference",
                    "channel": "sms",
                    "outcome": "skip",
                    "detail": "order_updates is off by the tenant's defaults",
                },
            ],
        },
        "contents": [
            {
                "channel": "email",
                "title": "Your order",
                "body": "It is on its way.",
                "html": "<p>It is on its way.</p>",
                "locale": "en",
            }
        ],
    },
    DryRun(),
)
DRY_RUN_TREE = """\
order_confirmation to ada, if it were sent now
├── category order_updates  lane medium  preferences none  defaults v2
├── ✓ expiry  never
├── email  planned
│   ├── template order
│   └── it would say in en
│       ├── Your order
│       ├── It is on its way.
│       └── and HTML of 24 characters
└── sms  skipped  category_disabled
    └── ✗ category_preference  order_updates is off by the tenant's defaults
"""


class Tracking(TrackingServiceServicer):
    async def ExplainNotification(self, request: Any, context: Any) -> Explanation:
        if request.notification_id != ID:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such one")
        return SENT


class Router(NotificationServiceServicer):
    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def ExplainNotification(self, request: Any, context: Any) -> DryRun:
        self.asked.append(request.notification)
        return DRY_RUN


@asynccontextmanager
async def mesh(router: Router) -> AsyncIterator[str]:
    server = grpc.aio.server()
    add_TrackingServiceServicer_to_server(Tracking(), server)
    add_NotificationServiceServicer_to_server(router, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


async def run(tmp_path: Path, router: Router, *arguments: str) -> Result:
    key = tmp_path / "key"
    key.write_text("secret")
    async with mesh(router) as target:
        where = ["--target", target, "--key-file", str(key)]
        return await asyncio.to_thread(
            CliRunner(env={"COLUMNS": "100"}).invoke,
            main,
            ["explain", *arguments, *where],
        )


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


async def test_what_was_sent_is_shown_as_a_tree(tmp_path: Path) -> None:
    shown = await run(tmp_path, Router(), ID)
    assert shown.exit_code == 0, shown.output
    assert lines(shown.output) == lines(SENT_TREE)


async def test_a_dry_run_is_shown_as_a_tree_with_what_it_would_say(
    tmp_path: Path,
) -> None:
    router = Router()
    options = ["--to", "ada", "--type", "order_confirmation", "-t", "Hello"]
    options += ["-c", "email", "-c", "sms", "-v", "amount=99.5", "-v", "name=Ada"]
    shown = await run(tmp_path, router, *options)
    assert shown.exit_code == 0, shown.output
    assert lines(shown.output) == lines(DRY_RUN_TREE)
    (asked,) = router.asked
    assert (asked.user_id, asked.type, asked.title) == (
        "ada",
        "order_confirmation",
        "Hello",
    )
    assert list(asked.channels) == ["email", "sms"]
    assert dict(asked.data) == {"amount": 99.5, "name": "Ada"}


async def test_every_field_of_a_notification_can_be_asked_about(tmp_path: Path) -> None:
    router = Router()
    options = ["--to", "ada", "--type", "alarm", "--strategy", "first_available"]
    options += ["-f", "collapse_key=7", "-f", "template_version=3"]
    options += ["-f", 'send_window={"start": "09:00", "end": "18:00"}']
    shown = await run(
        tmp_path, router, *options, "-f", "expires_at=2030-01-31T10:30:00Z"
    )
    assert shown.exit_code == 0, shown.output
    (asked,) = router.asked
    assert (asked.strategy, asked.collapse_key, asked.template_version) == (
        "first_available",
        "7",
        3,
    )
    assert asked.send_window.end == "18:00"
    assert asked.expires_at.ToJsonString() == "2030-01-31T10:30:00Z"
    wrong = await run(tmp_path, router, *options, "-f", "colour=red")
    assert wrong.exit_code == 2
    assert "colour" in wrong.output


@pytest.mark.parametrize("arguments", [[ID], ["--to", "ada", "--type", "offer"]])
async def test_machines_get_one_object(tmp_path: Path, arguments: list[str]) -> None:
    shown = await run(tmp_path, Router(), *arguments, "--json")
    assert shown.exit_code == 0, shown.output
    (line,) = shown.output.splitlines()
    expected: Any = SENT if arguments == [ID] else DRY_RUN
    assert ParseDict(json.loads(line), type(expected)()) == expected


async def test_an_unknown_id_is_a_plain_error(tmp_path: Path) -> None:
    shown = await run(tmp_path, Router(), ID.replace("0", "1"))
    assert shown.exit_code == 1
    assert "there is no such one" in shown.output


@pytest.mark.parametrize("arguments", [[], [ID, "--to", "ada"]])
async def test_it_is_either_an_id_or_a_dry_run(
    tmp_path: Path, arguments: list[str]
) -> None:
    shown = await run(tmp_path, Router(), *arguments)
    assert shown.exit_code == 2
    assert "either an id" in shown.output
