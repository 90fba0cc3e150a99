"""What the rate limiter needs from storage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from clarion.ratelimit.policy import PartialLimit, Policies
from clarion.ratelimit.window import WEEK, Limit, Usage, Verdict, judge, usage


class Permit(NamedTuple):
    """One permit: of whom and for what."""

    request_id: str
    user_id: str
    category: str
    limit: Limit = Limit(0, 0)
    """The limit that it is judged by; of no meaning for a release."""


def peeked(taken: Mapping[str, int], permit: Permit, now: int) -> Verdict:
    """The verdict on one more permit of the same person and category.

    ``taken`` is request id -> time in microseconds, older ones included.
    """
    times = sorted(time for time in taken.values() if time > now - WEEK)
    if taken.get(permit.request_id, 0) > now - WEEK:
        return Verdict(True, *usage(times, now))
    return judge(times, now, permit.limit)


class PermitStore(Protocol):
    """Permits taken in the last seven days. Every method raises UnavailableError."""

    async def acquire(
        self, tenant: str, permits: Sequence[Permit], now: int
    ) -> list[Verdict]:
        """Judges permits in order and keeps those that are allowed.

        A request id that holds a permit already is allowed again, whatever the limit
        is now, and counts once. Nothing is kept of what is refused.
        """
        ...

    async def peek(
        self, tenant: str, permits: Sequence[Permit], now: int
    ) -> list[Verdict]:
        """Judges each permit by itself, as if it were acquired, and keeps nothing."""
        ...

    async def release(self, tenant: str, permits: Sequence[Permit]) -> int:
        """Gives permits back; how many of them had been taken. Safe to repeat."""
        ...

    async def usage(
        self, tenant: str, user_id: str, categories: Iterable[str], now: int
    ) -> dict[str, Usage]:
        """What a person has used of these categories and of others used lately.

        Others used by nobody of the tenant for seven days are not looked at.
        """
        ...


class PolicyStore(Protocol):
    """The limits that tenants have set. Every method raises UnavailableError."""

    async def get(self, tenant: str) -> Policies:
        """The tenant's policies as they are now."""
        ...

    async def put(self, tenant: str, category: str, limit: PartialLimit) -> None:
        """Replaces one limit; one that is open in both windows is removed.

        Raises PreconditionError where the tenant has too many.
        """
        ...
