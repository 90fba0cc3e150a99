"""What FCM and APNs have in common: a POST for each job and one credential for all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from time import monotonic
from typing import Protocol

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.runtime.clock import Clock
from clarion.runtime.delivery import Outcome, OutcomeKind, Settle
from clarion.runtime.errors import ConfigError
from clarion.runtime.http.transport import Answer, Failure, Transport

_log = logging.getLogger(__name__)

MISCONFIGURED = "provider_misconfigured"
"""The provider refuses our credential or settings. It is retried, so that it ends as a
dead letter and can be sent again once the settings are right."""
UNAVAILABLE = "provider_unavailable"

_TELL_EVERY_SECONDS = 60.0

Posting = tuple[str, list[str], bytes]
"""Path, header lines and body."""


class CredentialError(Exception):
    """There is no credential to send with."""

    def __init__(self, problem: str, *, transient: bool) -> None:
        super().__init__(problem)
        self.transient = transient
        """Whether it may work in a moment; otherwise settings have to change."""


class Credential(Protocol):
    """Where the authorization header comes from."""

    @property
    def problem(self) -> str:
        """What must be changed in the settings; empty when nothing is known."""
        ...

    async def authorization(self, refused: str = "") -> str:
        """The header line; with ``refused``, another one where one can be had.

        Raises CredentialError. Does not wait while a valid one is at hand.
        """
        ...

    def prepare(self) -> None:
        """Sees to it that one is at hand, in the background."""
        ...

    async def close(self) -> None:
        """Ends what runs in the background."""
        ...


class Dialect(Protocol):
    """What is a provider's own."""

    def posting(
        self, job: DeliveryJob, authorization: str, now: float
    ) -> Posting | Outcome:
        """The request for a job, or why there is none. ``now`` is a Unix time."""
        ...

    def outcome(self, answer: Answer) -> Outcome | None:
        """What an answer with a status means; None: the credential is refused."""
        ...


class PostingProvider:
    """A Provider of clarion.runtime.delivery."""

    def __init__(
        self,
        name: str,
        transport: Transport,
        credential: Credential,
        dialect: Dialect,
        clock: Clock,
    ) -> None:
        self.name = name
        self._transport = transport
        self._credential = credential
        self._dialect = dialect
        self._clock = clock
        self._told = -_TELL_EVERY_SECONDS

    async def send(self, jobs: Sequence[DeliveryJob], settle: Settle) -> None:
        """Settles every job; those whose credential is refused get one more try."""
        authorization, refused = "", jobs
        for is_last in (False, True):
            try:
                authorization = await self._credential.authorization(authorization)
            except CredentialError as error:
                reason = UNAVAILABLE if error.transient else MISCONFIGURED
                self._report(reason, "credential")
                outcome = Outcome.retry(reason, "credential")
                for job in refused:
                    settle(job, outcome)
                return
            refused = await self._post(refused, authorization, settle, is_last)
            if not refused:
                return

    async def check(self) -> None:
        """ConfigError while the provider refuses the settings."""
        self._credential.prepare()
        if self._credential.problem:
            raise ConfigError(self._credential.problem)

    async def close(self) -> None:
        """Closes connections; what is under way is told as unknown."""
        await self._transport.close()
        await self._credential.close()

    async def _post(
        self,
        jobs: Sequence[DeliveryJob],
        authorization: str,
        settle: Settle,
        is_last: bool,
    ) -> list[DeliveryJob]:
        """Posts the jobs and returns those whose credential was refused."""
        dialect, post = self._dialect, self._transport.post
        refused: list[DeliveryJob] = []
        waiting = 1
        done = asyncio.get_running_loop().create_future()

        def arrived(job: DeliveryJob, answer: Answer) -> None:
            nonlocal waiting
            try:
                outcome = self._outcome(answer, is_last)
                if outcome is None:
                    refused.append(job)
                else:
                    settle(job, outcome)
            finally:
                waiting -= 1
                if not waiting and not done.done():
                    done.set_result(None)

        now = self._clock.now().timestamp()
        for job in jobs:
            posting = dialect.posting(job, authorization, now)
            if isinstance(posting, Outcome):
                settle(job, posting)
                continue
            path, headers, body = posting
            waiting += 1
            post(path, headers, body, arrived, job, job.priority)
        waiting -= 1
        if waiting:
            await done
        return refused

    def _outcome(self, answer: Answer, is_last: bool) -> Outcome | None:
        if answer.failure is not None:
            return _unanswered(answer)
        outcome = self._dialect.outcome(answer)
        if outcome is None:
            if not is_last:
                return None
            outcome = Outcome(
                OutcomeKind.RETRY,
                MISCONFIGURED,
                provider_code=str(answer.status),
                latency=answer.latency,
            )
        if outcome.reason == MISCONFIGURED:
            self._report(MISCONFIGURED, outcome.provider_code)
        return outcome

    def _report(self, reason: str, code: str) -> None:
        now = monotonic()
        if now - self._told < _TELL_EVERY_SECONDS:
            return
        self._told = now
        _log.error(
            "provider cannot be used",
            extra={"provider": self.name, "reason": reason, "code": code},
        )


def _unanswered(answer: Answer) -> Outcome:
    timed_out = answer.error == "operation_timedout"
    if answer.failure is Failure.NOT_SENT:
        return Outcome(
            OutcomeKind.RETRY,
            UNAVAILABLE,
            provider_code=answer.error,
            latency=answer.latency,
        )
    return Outcome(
        OutcomeKind.UNKNOWN,
        "timeout" if timed_out else "no_answer",
        provider_code=answer.error,
        latency=answer.latency,
    )
