"""The service as it is wired, on real NATS and Valkey and the sandbox."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from clarion.api.event.v1.work_pb2 import DeliveryChunk, DeliveryJob
from clarion.api.recipients.v1 import (
    recipient_service_pb2,
    recipient_service_pb2_grpc,
)
from clarion.push.app import build
from clarion.push.settings import Settings
from clarion.runtime.caller import current_caller
from clarion.runtime.config import Secret
from clarion.runtime.jetstream import Streams
from clarion.runtime.service import Service
from clarion.runtime.settings import RuntimeSettings
from clarion.runtime.testing import INTERNAL_KEY, serve, wait_until
from clarion.sandbox.testing import RunningSandbox

MakeJob = Callable[..., DeliveryJob]


class Recipients(recipient_service_pb2_grpc.RecipientServiceServicer):
    def __init__(self) -> None:
        self.removed: list[tuple[str, str]] = []

    async def BatchRemoveTokens(self, request: Any, context: Any) -> Any:
        tenant = current_caller().tenant
        self.removed += [(tenant, token) for token in request.tokens]
        return recipient_service_pb2.BatchRemoveTokensResponse(
            removed=len(request.tokens)
        )


@pytest.fixture
def recipients() -> Recipients:
    return Recipients()


@pytest.fixture
async def service(
    keys_file: Path,
    streams: Streams,
    nats_url: str,
    valkey_url: str,
    settings: Settings,
    recipients: Recipients,
) -> AsyncIterator[Service]:
    add = recipient_service_pb2_grpc.add_RecipientServiceServicer_to_server
    async with serve((add, recipients)) as harness:
        shared = RuntimeSettings(
            keys_file,
            "127.0.0.1:0",
            service_key=Secret(INTERNAL_KEY),
            nats_url=nats_url,
            redis_url=valkey_url,
            recipients_target=harness.target,
        )
        service = Service("push", shared)
        await build(service, settings)
        await service.start()
        yield service
        await service.stop()


@pytest.mark.integration
async def test_jobs_reach_the_providers_and_dead_tokens_are_removed(
    service: Service,
    streams: Streams,
    sandbox: RunningSandbox,
    recipients: Recipients,
    make_job: MakeJob,
) -> None:
    await sandbox.script(
        [{"match": {"recipient": "dead-*"}, "action": {"unregistered": True}}]
    )
    jobs = [
        make_job(f"{kind}-{platform}", platform=platform, attempt=1)
        for kind in ("alive", "dead")
        for platform in ("ios", "android")
    ]
    chunk = DeliveryChunk(jobs=jobs).SerializeToString()
    await streams.publisher.publish("work.push.high", chunk, message_id="m-1")
    await wait_until(lambda: len(recipients.removed) == 2)
    assert sorted(recipients.removed) == [
        ("demo", "dead-android"),
        ("demo", "dead-ios"),
    ]
    arrived = {d for _, d, _, _ in await sandbox.arrivals()}
    assert arrived == {job.delivery_id for job in jobs[:2]}
    assert {m["provider"] for m in await sandbox.messages()} == {"fcm", "apns"}
    await wait_until(lambda: service.health.serving)


def test_the_program_checks_its_settings(keys_file: Path) -> None:
    environ = {
        "PATH": os.environ["PATH"],
        "CLARION_API_KEYS_FILE": str(keys_file),
    }

    def check(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "clarion.push", "--check"],
            env=environ | more,
            capture_output=True,
            text=True,
            timeout=30,
        )

    assert check().returncode == 0
    wrong = check(CLARION_FCM_URL="fcm", CLARION_PUSH_IN_FLIGHT="0")
    assert wrong.returncode == 2
    assert "CLARION_FCM_URL" in wrong.stderr
    assert "CLARION_PUSH_IN_FLIGHT" in wrong.stderr


def test_importing_the_program_loads_no_slow_library() -> None:
    slow = "google.auth, requests, jwt, firebase_admin, pycurl"
    script = (
        "import sys, clarion.push.__main__\n"
        f"print([n for n in '{slow}'.split(', ') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() in ("[]", "['pycurl']")
