"""Stands in for FCM where that is not configured."""

from __future__ import annotations

from collections.abc import Sequence

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.runtime.delivery import Outcome, Settle
from clarion.runtime.errors import ConfigError

_OUTCOME = Outcome.failed("provider_not_configured")


class Unconfigured:
    """Fails every job for good, with the reason provider_not_configured."""

    def __init__(self, name: str, problem: str = "") -> None:
        """With a ``problem`` the service is not ready, and says so."""
        self.name = name
        self._problem = problem

    async def send(self, jobs: Sequence[DeliveryJob], settle: Settle) -> None:
        """Settles them as failed."""
        for job in jobs:
            settle(job, _OUTCOME)

    async def check(self) -> None:
        """ConfigError with the problem, if there is one."""
        if self._problem:
            raise ConfigError(self._problem)

    async def close(self) -> None:
        """Has nothing open."""
