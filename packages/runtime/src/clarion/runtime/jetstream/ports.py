"""What services ask of the streams: ports, with doubles in ``in_memory``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol


class Publisher(Protocol):
    """Durable publishing."""

    async def publish(
        self,
        subject: str,
        body: bytes,
        *,
        message_id: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Publishes and returns once the message is stored.

        ``message_id`` makes a repeat within the stream's duplicate window a no-op,
        whatever the subject. Raises StreamFullError, or UnavailableError when the
        stream did not answer for long; then the message may have been stored.
        """
        ...


class Scheduler(Protocol):
    """Durable publishing at a later time."""

    async def schedule(
        self,
        subject: str,
        *,
        target: str,
        due: datetime,
        body: bytes,
        message_id: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Stores a message that goes to ``target`` at ``due`` (up to 0.3 s later).

        ``subject`` (``later_subject``) is the identity: scheduling it again replaces
        what was there. A due time in the past fires at once. Raises as ``publish``.
        """
        ...

    async def cancel(self, subject: str) -> int:
        """Removes what has not fired; how many there were. Wildcards are allowed."""
        ...


class ConsumerObserver(Protocol):
    """Told what a consumer does; must not block or raise."""

    def handled(self, durable: str, messages: int, queue_age: timedelta) -> None:
        """A call succeeded; the age is that of the oldest message at its start."""
        ...

    def failed(self, durable: str, messages: int, error: BaseException) -> None:
        """A call failed for a reason that waiting does not cure."""
        ...

    def held(self, durable: str, messages: int, error: BaseException) -> None:
        """A call failed for a transient reason; the messages are kept for another."""
        ...

    def dead_lettered(self, durable: str, error: BaseException) -> None:
        """A message was given up and is in the DLQ."""
        ...


class NullObserver:
    """Watches nothing."""

    def handled(self, durable: str, messages: int, queue_age: timedelta) -> None:
        pass

    def failed(self, durable: str, messages: int, error: BaseException) -> None:
        pass

    def held(self, durable: str, messages: int, error: BaseException) -> None:
        pass

    def dead_lettered(self, durable: str, error: BaseException) -> None:
        pass
