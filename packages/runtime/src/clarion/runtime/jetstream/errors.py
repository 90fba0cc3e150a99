"""What JetStream can answer, in the mesh's vocabulary.

::

    OverloadedError
    └── StreamFullError     the stream refuses new messages until some are worked off
    PreconditionError
    └── ScheduleGoneError   what was to be changed is not scheduled any more
    InternalError
    ├── StreamApiError      the server refused a request; has its code
    └── PoisonError         a handler says that a message can never be handled
"""

from __future__ import annotations

from clarion.runtime.errors import (
    InternalError,
    OverloadedError,
    PreconditionError,
)

STREAM_FULL_CODES = frozenset({10077, 10047, 10028})
"""max_bytes/max_msgs reached, no storage left, account limit reached."""


class StreamFullError(OverloadedError):
    """The work queue is full."""


class ScheduleGoneError(PreconditionError):
    """It fired, was cancelled or was changed meanwhile."""


class StreamApiError(InternalError):
    """The stream server refused a request."""

    def __init__(self, request: str, code: int, err_code: int, description: str):
        super().__init__(f"{request}: {description} ({code}, {err_code})")
        self.code = code
        self.err_code = err_code


class PoisonError(InternalError):
    """The message can never be handled: raised by a handler, dead-letters at once.

    ``word`` is the stable reason in the dead letter.
    """

    def __init__(self, word: str, detail: str = "") -> None:
        super().__init__(detail or word)
        self.word = word
