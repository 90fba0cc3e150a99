"""A tenant that floods a little while the backlog of another one waits."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from clarion.client.bench.backlog import Backlog


@dataclass(slots=True)
class SecondFlood:
    """What the smaller of two floods experiences."""

    flood: Backlog
    _began_ms: float = 0.0

    @classmethod
    def beside(cls, backlog: int, target: str, key: str) -> SecondFlood:
        """A fortieth of the backlog, and more than a tenant's share of a lane."""
        return cls(Backlog(target, key, max(backlog // 40, 400), "second"))

    async def run(self) -> None:
        """Returns when it is accepted."""
        self._began_ms = time.time() * 1000
        await self.flood.run()

    def outcome(
        self, arrived_ms: Mapping[tuple[str, str], float]
    ) -> tuple[float, float]:
        """Seconds until the last one was sent, and its part of what was sent then.

        First come, first served it would be the part that it has of all that waits;
        half of it, where two tenants that flood get as much.
        """
        ids = self.flood.ids
        own = [at for (id, _), at in arrived_ms.items() if id in ids]
        if not own:
            return 0.0, 0.0
        until = max(own)
        meanwhile = sum(self._began_ms <= at <= until for at in arrived_ms.values())
        seconds = (until - self._began_ms) / 1000
        return round(seconds, 2), round(len(own) / max(meanwhile, len(own)), 3)
