"""A sandbox inside a test: real sockets, same process, gone at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clarion.sandbox.app import Sandbox, serving
from clarion.sandbox.record import Filter
from clarion.sandbox.settings import Settings


@dataclass(frozen=True, slots=True)
class RunningSandbox:
    """Addresses of a running sandbox, and what a test asks of it."""

    sandbox: Sandbox

    def __getattr__(self, name: str) -> str:
        """Entries of sandbox.json as attributes: fcm_url, ca_file, ..."""
        try:
            return self.sandbox.places[name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def places(self) -> dict[str, str]:
        return self.sandbox.places

    @property
    def twilio_auth_token(self) -> str:
        return self.sandbox.twilio_token

    async def script(self, rules: Sequence[dict[str, Any]]) -> None:
        """Replace the rules; raises ScriptError that names the bad field."""
        self.sandbox.script.replace(list(rules))

    async def messages(
        self, *, limit: int = 1000, **wanted: Any
    ) -> list[dict[str, Any]]:
        """Messages as the control API gives them, newest first (oldest with after=)."""
        found = self.sandbox.store.find(Filter(**wanted), limit)
        return [record.as_json() for record in found]

    async def arrivals(self) -> list[tuple[str, str, str, int]]:
        """(notification_id, delivery_id, channel, arrived in ms) per acceptance."""
        store = self.sandbox.store
        return list(store.arrivals(0, store.arrivals_kept))

    async def summary(self) -> dict[str, Any]:
        return self.sandbox.store.summary()

    async def receipts(self) -> dict[str, Any]:
        """What was posted to webhooks: sent, failed, pending, newest."""
        return self.sandbox.receipts.as_json()

    async def webhooks(
        self, *, twilio_inbound_url: str = "", sendgrid_events_url: str = ""
    ) -> None:
        """Say where webhooks go from now on."""
        hooks = self.sandbox.receipts.webhooks
        hooks.twilio_inbound_url = twilio_inbound_url
        hooks.sendgrid_events_url = sendgrid_events_url

    async def receive_sms(self, sender: str, to: str, body: str) -> None:
        """A person writes to one of our numbers."""
        self.sandbox.control.twilio.receive(sender, to, body)

    async def reset(self) -> None:
        """Forget what arrived, the planned receipts and the rules."""
        self.sandbox.control.reset()
        self.sandbox.script.replace([])


@asynccontextmanager
async def running_sandbox(
    folder: Path, **settings: Any
) -> AsyncIterator[RunningSandbox]:
    """Run a sandbox in this event loop with its files below `folder`.

    Keyword arguments are fields of Settings.
    """
    async with serving(
        replace(Settings(data=folder / "sandbox"), **settings)
    ) as sandbox:
        yield RunningSandbox(sandbox)
