"""Steps that run at the same time, and none is left running."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar, cast

T = TypeVar("T")


async def beside(step: Coroutine[Any, Any, T], other: Coroutine[Any, Any, None]) -> T:
    """Runs both, waits for both, and answers what the first one does."""
    result, nothing = await asyncio.gather(step, other, return_exceptions=True)
    for outcome in (result, nothing):
        if isinstance(outcome, BaseException):
            raise outcome
    return cast(T, result)


async def all_of(steps: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Waits for all of them, then raises the first failure: nothing is left running."""
    for outcome in await asyncio.gather(*steps, return_exceptions=True):
        if outcome is not None:
            raise outcome
