"""The caller's deadline: inherited, shaved and kept."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from time import monotonic
from typing import Any

from clarion.runtime.errors import DeadlineError
from clarion.runtime.interceptors.rpc import Proceed, Rpc
from clarion.runtime.methods import Method

SHAVE_SECONDS = 0.02
"""Kept back on every hop, so that the innermost failure is the one reported: an outer
service still has this long to pass it on. What arrives with less is refused."""

_deadline: ContextVar[float | None] = ContextVar("clarion_deadline", default=None)


def time_left() -> float | None:
    """Seconds left for the RPC under way, shaved; None where there is no deadline."""
    deadline = _deadline.get()
    return None if deadline is None else deadline - monotonic()


class DeadlineInterceptor:
    """Refuses what cannot be answered in time; stops what was not."""

    def bind(self, method: Method, proceed: Proceed) -> Proceed:
        async def within_budget(rpc: Rpc, request: Any) -> Any:
            remaining: float | None = rpc.context.time_remaining()
            if remaining is None:
                return await proceed(rpc, request)
            if remaining < SHAVE_SECONDS:
                raise DeadlineError(
                    "too little of the deadline was left on arrival: "
                    f"give the call more than {SHAVE_SECONDS * 1000:.0f} ms"
                )
            budget = remaining - SHAVE_SECONDS
            _deadline.set(monotonic() + budget)
            limit = asyncio.timeout(budget)
            try:
                async with limit:
                    return await proceed(rpc, request)
            except TimeoutError as late:
                if not limit.expired():
                    raise  # the work's own timeout, not ours
                raise DeadlineError("the deadline passed before the answer") from late

        return within_budget
