"""When this service can answer: it outlives either of its two stores."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from clarion.runtime.errors import UnavailableError

Check = Callable[[], Awaitable[None]]


class Readiness:
    """Ready once Postgres has answered, and then while one of the two does.

    With Postgres down cached people are still answered, and with Valkey down Postgres
    answers: so neither takes the service out of rotation alone.
    """

    def __init__(self, postgres: Check, valkey: Check) -> None:
        self._postgres = postgres
        self._valkey = valkey
        self._was_ready = False

    async def check(self) -> None:
        """Raises UnavailableError while the service is of no use."""
        try:
            await self._postgres()
        except UnavailableError:
            if not self._was_ready:
                raise
            await self._valkey()
        else:
            self._was_ready = True
