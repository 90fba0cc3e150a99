"""The dry run: a provider that takes every job and sends nothing anywhere."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.runtime.delivery.outcome import Outcome
from clarion.runtime.delivery.provider import Settle

_log = logging.getLogger(__name__)

NAME = "sink"


class SinkProvider:
    """Implements Provider: every job is SENT at once, by nobody."""

    name = NAME

    def __init__(self, channel: str) -> None:
        self._channel = channel
        self.taken = 0
        """Jobs settled by this process."""
        _log.warning(
            "DRY RUN: nothing is sent to anybody, every delivery counts as sent",
            extra={"channel": channel},
        )

    async def send(self, jobs: Sequence[DeliveryJob], settle: Settle) -> None:
        sent = Outcome.sent()
        for job in jobs:
            settle(job, sent)
        self.taken += len(jobs)

    async def check(self) -> None:
        """Nothing can be wrong with it."""

    async def close(self) -> None:
        # What tracking counted can be held against this: a delivery sent twice folds
        # there, and shows here.
        _log.warning(
            "dry run ended", extra={"channel": self._channel, "taken": self.taken}
        )
