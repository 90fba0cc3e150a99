"""What the providers got, followed as it arrives."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field

import aiohttp


@dataclass(slots=True)
class Arrivals:
    """Reads the sandbox's record on and on; only ids of this run are counted."""

    control_url: str
    http: aiohttp.ClientSession
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Messages by (notification_id, channel)."""
    arrived_ms: dict[tuple[str, str], int] = field(default_factory=dict)
    """The first arrival of each, in milliseconds of the Unix epoch."""
    _read: int = 0

    async def skip(self) -> None:
        """Passes over what arrived before."""
        await self.follow()
        self.counts.clear()
        self.arrived_ms.clear()

    async def follow(self) -> None:
        """Takes in what arrived since the last call."""
        url = f"{self.control_url}/arrivals?after={self._read}"
        async with self.http.get(url) as response:
            response.raise_for_status()
            until = int(response.headers["x-arrivals"])
            text = await response.text()
        for line in text.splitlines():
            if not line:
                continue
            one = json.loads(line)
            key = one["notification_id"], one["channel"]
            self.counts[key] += 1
            self.arrived_ms.setdefault(key, one["arrived_ms"])
        self._read = until

    def by_channel(self) -> Counter[str]:
        """How many messages arrived on each channel."""
        totals: Counter[str] = Counter()
        for (_, channel), count in self.counts.items():
            totals[channel] += count
        return totals
