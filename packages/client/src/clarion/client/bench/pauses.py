"""Pausing consumers of JetStream, so that a queue fills before it is worked off."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

_LONGEST = timedelta(hours=1)
_SHORTEST = timedelta(milliseconds=100)


class Pauses:
    """Pauses and resumes consumers by the API of the server."""

    def __init__(self, nats: Any) -> None:
        self._nats = nats

    @classmethod
    async def connect(cls, url: str) -> Pauses:
        """Opens a connection."""
        import nats

        return cls(await nats.connect(url))

    async def close(self) -> None:
        """Closes it."""
        await self._nats.close()

    async def pause(self, stream: str, consumers: Iterable[str]) -> None:
        """They deliver nothing until they are resumed."""
        await self._ask(stream, consumers, datetime.now(UTC) + _LONGEST)

    async def resume(self, stream: str, consumers: Iterable[str]) -> None:
        """They deliver again."""
        # By its own timer the server wakes who waits at once, by a resume it does not.
        await self._ask(stream, consumers, datetime.now(UTC) + _SHORTEST)

    async def _ask(
        self, stream: str, consumers: Iterable[str], until: datetime
    ) -> None:
        text = until.isoformat().replace("+00:00", "Z")
        body = json.dumps({"pause_until": text}).encode()
        for consumer in consumers:
            subject = f"$JS.API.CONSUMER.PAUSE.{stream}.{consumer}"
            answer = await self._nats.request(subject, body, timeout=5)
            problem = json.loads(answer.data).get("error")
            if problem:
                raise RuntimeError(f"{consumer} was not paused: {problem}")
