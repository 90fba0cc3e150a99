"""How large the steps of a flow are that makes way. Pure.

A small step costs each process nearly as much as a large one, so it is taken for
somebody who would be fast without it. Who waits for long already does not notice a step
that is short beside that, and is done sooner where the others cost less.
"""

from __future__ import annotations

PART = 0.1
"""Of the wait of those who go before, what a step may add to it."""
_BUSY = 0.1
"""Seconds: a step may have as many items as those who go before do in that time."""


def most_items(step: int, waited: float, rate: float, item: float) -> int:
    """Items of a step while those who go before wait for so many seconds.

    ``step`` is for those who do not wait, ``rate`` what the higher lanes do in a
    second, and ``item`` the seconds that one item takes.
    """
    return max(step, int(PART * waited / item), int(rate * _BUSY))
