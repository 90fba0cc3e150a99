"""What waits for a turn at a provider, the high lane first."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from clarion.runtime.streams import LANES

T = TypeVar("T")


class LaneQueue(Generic[T]):
    """A queue for each lane; ``take`` empties a higher one before a lower one."""

    def __init__(self, *, otherwise: str = LANES[-1]) -> None:
        """``otherwise`` is the lane of items whose own is unknown."""
        self._waiting: dict[str, deque[T]] = {lane: deque() for lane in LANES}
        self._otherwise = self._waiting[otherwise]

    def put(self, lane: str, item: T) -> None:
        """Puts an item last in its lane."""
        self._waiting.get(lane, self._otherwise).append(item)

    def take(self) -> T | None:
        """The next item; None when nothing waits."""
        for waiting in self._waiting.values():
            if waiting:
                return waiting.popleft()
        return None
