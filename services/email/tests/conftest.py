"""A sandbox as the mail server, and the adapter on it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from clarion.email.mailbox import Mailbox
from clarion.email.providers.smtp import SmtpProvider
from clarion.email.smtp_url import SmtpUrl
from clarion.runtime.clock import SystemClock
from clarion.runtime.testing.outcomes import outcomes_of
from clarion.sandbox.testing import RunningSandbox, running_sandbox

SENDER = Mailbox("The Shop", "shop@example.com")


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[RunningSandbox]:
    async with running_sandbox(tmp_path) as running:
        yield running


@pytest.fixture
async def make_provider() -> AsyncIterator[Callable[..., SmtpProvider]]:
    """An adapter to a URL, closed at the end of the test."""
    made: list[SmtpProvider] = []

    def make(url: str, **options: Any) -> SmtpProvider:
        options = {"timeout": timedelta(seconds=5)} | options
        provider = SmtpProvider(SmtpUrl.parse(url), SENDER, SystemClock(), **options)
        made.append(provider)
        return provider

    yield make
    for provider in made:
        await provider.close()


@pytest.fixture
def provider(sandbox: RunningSandbox, make_provider: Any) -> SmtpProvider:
    made: SmtpProvider = make_provider(sandbox.smtp_url, connections=2)
    return made


@pytest.fixture
def send() -> Any:
    """Sends jobs by a provider; the outcomes in their order."""
    return outcomes_of


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Relay:
    """Passes TCP on to a server, counts connections and can cut them."""

    def __init__(self, to: str) -> None:
        self._to = SmtpUrl.parse(to)
        self._writers: list[asyncio.StreamWriter] = []
        self.accepted = 0
        self.url = ""

    async def accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.accepted += 1
        far_reader, far_writer = await asyncio.open_connection(
            self._to.host, self._to.port
        )
        self._writers += (writer, far_writer)
        await asyncio.gather(
            self._pass(reader, far_writer), self._pass(far_reader, writer)
        )

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()


@pytest.fixture
async def relay(sandbox: RunningSandbox) -> AsyncIterator[Relay]:
    relay = Relay(sandbox.smtp_url)
    server = await asyncio.start_server(relay.accept, "127.0.0.1", 0)
    relay.url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield relay
    server.close()
    relay.cut()
