"""How deep the queues of a local stack are, by the monitoring of NATS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import aiohttp

_WORKING = ("INTAKE", "WORK")


@dataclass(frozen=True, slots=True)
class Depth:
    """What waits or is under way."""

    work_messages: int = 0
    """Chunks in the work queues, those in the hands of workers included."""
    work_bytes: int = 0
    event_messages: int = 0
    """Chunks that tracking has not stored."""
    event_bytes: float = 0.0
    """About: they times the mean size."""

    @property
    def is_empty(self) -> bool:
        """Whether everything is through."""
        return self.work_messages == 0 and self.event_messages == 0


class Queues:
    """Reads the depths."""

    def __init__(self, monitor_url: str, http: aiohttp.ClientSession) -> None:
        self._url = f"{monitor_url}/jsz?accounts=1&streams=1&consumers=1"
        self._http = http

    async def consumers(self, stream: str) -> list[str]:
        """The names of a stream's consumers."""
        found = (await self._streams()).get(stream, {})
        return [one["name"] for one in found.get("consumer_detail") or ()]

    async def stream_bytes(self, stream: str) -> int:
        """What a stream holds."""
        return int(
            (await self._streams()).get(stream, {}).get("state", {}).get("bytes", 0)
        )

    async def depth(self) -> Depth:
        """As it is now."""
        streams = await self._streams()
        work = [streams[name]["state"] for name in _WORKING if name in streams]
        waiting, mean = 0, 0.0
        events = streams.get("EVENTS")
        if events is not None:
            for consumer in events.get("consumer_detail") or ():
                if consumer["name"].startswith("tracking"):
                    waiting += consumer.get("num_pending", 0)
                    waiting += consumer.get("num_ack_pending", 0)
            state = events["state"]
            mean = state["bytes"] / max(state["messages"], 1)
        return Depth(
            sum(state["messages"] for state in work),
            sum(state["bytes"] for state in work),
            waiting,
            waiting * mean,
        )

    async def _streams(self) -> dict[str, Any]:
        async with self._http.get(self._url) as answer:
            found: dict[str, Any] = await answer.json(content_type=None)
        return {
            stream["name"]: stream
            for account in found.get("account_details", ())
            for stream in account.get("stream_detail", ())
        }
