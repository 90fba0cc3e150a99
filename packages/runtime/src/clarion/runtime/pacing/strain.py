"""Whether the machine has less time for this process than it asks for. Pure."""

from __future__ import annotations

LATE = 0.003
"""Seconds that a pause may last too long before that says something."""
LEAST = 0.1

_DOWN, _UP = 0.7, 0.01


class Strain:
    """How much of their shares the flows that make way get, by how late pauses end.

    A loop that is late is one that everybody in it waits for, whoever has the machine:
    this process, its neighbours or somebody else. Down fast, up slowly, never to
    nothing.
    """

    def __init__(self) -> None:
        self.factor = 1.0

    def late(self, seconds: float) -> None:
        """A pause ended so many seconds after its time."""
        if seconds > LATE:
            self.factor = max(self.factor * _DOWN, LEAST)
        else:
            self.factor = min(self.factor + _UP, 1.0)
