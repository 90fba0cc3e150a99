"""How much of a tenant a lane takes before the rest goes by its overflow. Pure."""

from __future__ import annotations

from collections import OrderedDict

_REMEMBERED = 10_000


class TenantShares:
    """A bucket for each tenant and lane: so many at once, refilled at a rate.

    Whoever stays within it is never behind those who do not.
    """

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def take(self, key: tuple[str, str], items: int, now: float) -> int:
        """How many of the items of a tenant and lane are within the share.

        They are counted as sent.
        """
        left, at = self._buckets.pop(key, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._per_second)
        within = min(items, int(left))
        self._buckets[key] = (left - within, now)
        if len(self._buckets) > _REMEMBERED:
            # Whoever was idle for longest has a full bucket again, or nearly.
            self._buckets.popitem(last=False)
        return within
