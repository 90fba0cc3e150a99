"""What routing asks of the neighbours; each call is for one tenant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from clarion.api.ratelimit.v1.rate_limit_service_pb2 import AcquireItem, AcquireResult
from clarion.api.recipients.v1.recipient_service_pb2 import RecipientProfile
from clarion.api.templating.v1.template_service_pb2 import RenderResult


class Neighbours(Protocol):
    """The recipients, ratelimit and templating services.

    Every call raises TransientError while its service does not answer; the caller holds
    the batch and asks again.
    """

    async def recipients(
        self, tenant: str, user_ids: Sequence[str]
    ) -> Sequence[RecipientProfile]:
        """One profile for each id, in that order."""
        ...

    async def acquire(
        self, tenant: str, items: Sequence[bytes]
    ) -> Sequence[AcquireResult]:
        """One result for each encoded AcquireItem, in that order."""
        ...

    async def peek(
        self, tenant: str, items: Sequence[bytes]
    ) -> Sequence[AcquireResult]:
        """What ``acquire`` would answer to each item alone; takes nothing."""
        ...

    async def release(self, tenant: str, items: Sequence[AcquireItem]) -> None:
        """Gives permits back that were not used; repeating is safe."""
        ...

    async def render(
        self, tenant: str, items: Sequence[bytes]
    ) -> Sequence[RenderResult]:
        """One result for each encoded RenderItem and channel."""
        ...
