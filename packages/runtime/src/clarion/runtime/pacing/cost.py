"""What one more item costs this process, measured as it goes. Pure."""

from __future__ import annotations

_FIRST = 150e-6
_LEAST, _MOST = 10e-6, 1e-3
_WINDOW = 0.2
"""Seconds of the wall clock between two looks."""
_MANY = 200
"""Items in a window that tell the cost of one; of fewer, most is the process's own."""
_UPWARDS = 0.05


class Cost:
    """CPU seconds an item, in bulk.

    What is measured is hardly less than the truth, as the process does other things
    too: so a lower figure is believed at once and a higher one slowly. What it does
    much of, beside the items, counts as parts of them.
    """

    def __init__(self) -> None:
        self.item = _FIRST
        self._items = 0
        self._beside = 0.0
        self._looked_at: float | None = None
        self._cpu = 0.0

    def count(self, items: int, now: float, cpu: float) -> None:
        """Items are dealt with; ``cpu`` is what the process has used so far."""
        since = self._looked_at
        if since is None or now - since >= _WINDOW:
            if since is not None and self._items >= _MANY:
                measured = (cpu - self._cpu) / (self._items + self._beside)
                measured = min(max(measured, _LEAST), _MOST)
                weight = 1.0 if measured < self.item else _UPWARDS
                self.item += weight * (measured - self.item)
            self._looked_at, self._cpu, self._items = now, cpu, 0
            self._beside = 0.0
        self._items += items

    def beside(self, items: float) -> None:
        """The process did something else that costs as much as so many items."""
        self._beside += items
