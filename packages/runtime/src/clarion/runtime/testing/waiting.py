"""Waiting for a condition in place of sleeping."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

_LOOK_EVERY_SECONDS = 0.005


async def wait_until(
    condition: Callable[[], object],
    timeout: timedelta | float = 10.0,
    *,
    what: str = "the condition",
) -> None:
    """Returns when the condition holds; AssertionError when it does not in time.

    The timeout is a timedelta or seconds.
    """
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - any condition, not only an event
                await asyncio.sleep(_LOOK_EVERY_SECONDS)
    except TimeoutError:
        raise AssertionError(f"{what} did not come true within {seconds} s") from None
