"""Fixtures: a sandbox, the providers on it, and jobs."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.push.accounts import Accounts
from clarion.push.settings import Settings
from clarion.runtime.clock import SystemClock
from clarion.runtime.config import Secret
from clarion.runtime.delivery import Outcome, Provider
from clarion.sandbox.testing import RunningSandbox, running_sandbox

NAMESPACE = uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")


def a_job(token: str = "token-1", **fields: Any) -> DeliveryJob:
    platform = fields.pop("platform", "android")
    title = fields.pop("title", "Hello")
    body = fields.pop("body", 'It is "here"\nnow')
    data = fields.pop("data", None)
    job = DeliveryJob(
        delivery_id=str(uuid.uuid5(NAMESPACE, token)),
        notification_id=f"n-{token}",
        tenant_id="demo",
        channel="push",
        priority=fields.pop("priority", "medium"),
        **fields,
    )
    job.target.address = token
    job.target.platform = platform
    job.content.title = title
    job.content.body = body
    if data is not None:
        job.content.data.update(data)
    return job


@pytest.fixture
def make_job() -> Callable[..., DeliveryJob]:
    return a_job


@dataclass
class Outcomes:
    """Sends jobs and keeps what became of each, by token."""

    calls: list[tuple[str, Outcome]] = field(default_factory=list)

    async def of(self, provider: Provider, *jobs: DeliveryJob) -> list[Outcome]:
        before = len(self.calls)
        await provider.send(
            jobs, lambda job, outcome: self.calls.append((job.target.address, outcome))
        )
        settled = dict(self.calls[before:])
        assert len(settled) == len(self.calls) - before, "settled more than once"
        return [settled[job.target.address] for job in jobs]


@pytest.fixture
def outcomes() -> Outcomes:
    return Outcomes()


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[RunningSandbox]:
    async with running_sandbox(tmp_path) as running:
        yield running


@pytest.fixture
def settings(sandbox: RunningSandbox) -> Settings:
    return Settings(
        fcm_url=sandbox.push_tls_url,
        fcm_credentials=Secret(Path(sandbox.fcm_credentials_file).read_text()),
        apns_url=sandbox.push_tls_url,
        apns_key=Secret(Path(sandbox.apns_key_file).read_text()),
        apns_key_id=sandbox.apns_key_id,
        apns_team_id=sandbox.apns_team_id,
        apns_topic="com.example.clarion",
        push_ca_file=Path(sandbox.ca_file),
        push_timeout=timedelta(seconds=5),
    )


@pytest.fixture
async def open_accounts() -> AsyncIterator[Callable[..., Accounts]]:
    opened: list[Accounts] = []

    def open_with(settings: Settings, **changed: Any) -> Accounts:
        opened.append(Accounts(replace(settings, **changed), SystemClock()))
        return opened[-1]

    yield open_with
    for accounts in opened:
        await accounts.close()


@pytest.fixture
async def accounts(
    settings: Settings, open_accounts: Callable[..., Accounts]
) -> Accounts:
    return open_accounts(settings)


@pytest.fixture(params=["fcm", "apns"])
def provider(request: pytest.FixtureRequest, accounts: Accounts) -> Provider:
    provider = accounts.fcm if request.param == "fcm" else accounts.apns
    assert provider is not None
    return provider
