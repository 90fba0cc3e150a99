"""How long each flow that makes way pauses after a step. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from clarion.runtime.streams import FLOWS

SHARES: Mapping[str, float] = dict(
    zip(FLOWS, (1.0, 1.0, 1.0, 0.1, 0.05, 0.05), strict=True)
)
"""Of a process's time, for each overflow while others go before it. Together less than
all of it, so that a machine does not get full of what is not due now; and each for
itself, so that none waits for another one's pause."""


class Budgets:
    """The times at which flows may go on."""

    def __init__(self, shares: Mapping[str, float] = SHARES) -> None:
        self._shares = shares
        self._free_at = dict.fromkeys(shares, float("-inf"))

    def share(self, flow: str) -> float:
        """The flow's share of the process's time."""
        return self._shares[flow]

    def wait(self, flow: str, now: float) -> float:
        """Seconds until the flow's next step."""
        return max(self._free_at[flow] - now, 0.0)

    def spend(self, flow: str, seconds: float, now: float) -> None:
        """Takes a step, which begins now and uses the flow's share for so long."""
        self._free_at[flow] = max(self._free_at[flow], now) + seconds
