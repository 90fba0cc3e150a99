"""How a batch changes the states of the broadcasts that made its notifications. Pure.

The same for the notifications of a broadcast as a look at all of them would give, at
the cost of those that change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from clarion.tracking.story import Story


@dataclass(slots=True)
class BroadcastChanges:
    """What to add to which count.

    Of every notification that is written: ``leaves`` with what the database had of it,
    before anything is added to that, and ``enters`` with what is written.
    """

    numbers: Counter[tuple[bytes, int]] = field(default_factory=Counter)
    """By broadcast and state, which is a mask of facts and outcomes (state.py)."""
    accepted_times: dict[bytes, int] = field(default_factory=dict)

    def leaves(self, stories: Iterable[Story]) -> None:
        """These are no longer in the states that they have."""
        self._add(stories, -1)

    def enters(self, stories: Iterable[Story]) -> None:
        """These have the states that they have from now on."""
        self._add(stories, 1)

    def _add(self, stories: Iterable[Story], number: int) -> None:
        for story in stories:
            if (id := story.broadcast_id) is not None:
                self.numbers[id, story.facts | story.outcomes()] += number
                self.accepted_times[id] = story.accepted_time

    def rows(self) -> list[tuple[bytes, int, int, int]]:
        """(broadcast, state, number, when it was accepted), without what stays."""
        return [
            (id, mask, number, self.accepted_times[id])
            for (id, mask), number in self.numbers.items()
            if number
        ]
