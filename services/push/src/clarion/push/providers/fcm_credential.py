"""The access token of FCM, fetched from Google with the service account's key."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from clarion.push.providers.posting import CredentialError
from clarion.runtime.clock import Clock

_log = logging.getLogger(__name__)

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
EARLY = timedelta(minutes=5)
"""A token is replaced in the background for so long before it ends."""
_FETCH_SECONDS = 10.0
_PAUSE_SECONDS = 1.0
"""After a failure, before the next fetch: the batches of a second share one."""
_RENEW_EVERY_SECONDS = 10.0
"""Between two fetches because FCM refused a token that should be valid."""

Fetch = Callable[[], tuple[str, timedelta]]
"""Fetches a token and how long it is valid; blocks; raises CredentialError."""


class AccessTokens:
    """Keeps a token valid: one fetch at a time, in a thread, ahead of its end."""

    def __init__(self, fetch: Fetch, clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._header = ""
        self._until = 0.0
        self._fetching: asyncio.Task[None] | None = None
        self._error: CredentialError | None = None
        self._fetch_not_before = float("-inf")
        self._renew_not_before = float("-inf")

    @property
    def problem(self) -> str:
        """Why the last fetch failed, when settings have to change."""
        error = self._error
        return str(error) if error is not None and not error.transient else ""

    async def authorization(self, refused: str = "") -> str:
        """The header. Waits only when no valid one is at hand or it was refused."""
        if self._usable(refused):
            self.prepare()
            return self._header
        if self._fetching is None and self._may_fetch(refused):
            self._start()
        if self._fetching is not None:
            await asyncio.shield(self._fetching)
        if self._usable(refused):
            return self._header
        raise self._error or CredentialError("FCM refuses the token", transient=False)

    def prepare(self) -> None:
        """Starts a fetch when the token ends soon, or there is none."""
        now = self._clock.monotonic()
        if (
            self._fetching is None
            and now >= self._until - EARLY.total_seconds()
            and now >= self._fetch_not_before
        ):
            self._start()

    async def close(self) -> None:
        """Waits for a fetch under way: a thread cannot be stopped."""
        if self._fetching is not None:
            await self._fetching

    def _usable(self, refused: str) -> bool:
        return (
            bool(self._header)
            and self._header != refused
            and self._clock.monotonic() < self._until
        )

    def _may_fetch(self, refused: str) -> bool:
        now = self._clock.monotonic()
        if refused and refused == self._header:
            # A new token that is refused as well is a fault of the settings: every
            # batch would fetch another one.
            if now < self._renew_not_before:
                return False
            self._renew_not_before = now + _RENEW_EVERY_SECONDS
        return now >= self._fetch_not_before

    def _start(self) -> None:
        self._fetching = asyncio.create_task(self._renew(), name="fcm access token")

    async def _renew(self) -> None:
        try:
            token, life = await asyncio.to_thread(self._fetch)
        except CredentialError as error:
            self._fail(error)
        except Exception:  # the edge: whatever a third party's library raises
            _log.exception("access token fetch failed")
            self._fail(CredentialError("the fetch failed", transient=True))
        else:
            self._header = f"authorization: Bearer {token}"
            self._until = self._clock.monotonic() + life.total_seconds()
            self._error = None
        finally:
            self._fetching = None

    def _fail(self, error: CredentialError) -> None:
        self._error = error
        self._fetch_not_before = self._clock.monotonic() + _PAUSE_SECONDS
        _log.warning(
            "no access token",
            extra={"problem": str(error), "transient": error.transient},
        )


def google_fetch(account: Mapping[str, Any], trust: str) -> Fetch:
    """A Fetch by google-auth; ``trust`` is the path of the accepted authorities."""
    return partial(_fetch_from_google, account, trust)


def _fetch_from_google(account: Mapping[str, Any], trust: str) -> tuple[str, timedelta]:
    # Imported here, in the thread, as they take longer than the rest of the service.
    import requests
    from google.auth.exceptions import GoogleAuthError, TransportError
    from google.auth.transport.requests import Request
    from google.oauth2.service_account import Credentials

    try:
        credentials = Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
            account, scopes=[SCOPE]
        )
        with requests.Session() as session:
            session.verify = trust
            credentials.refresh(partial(Request(session), timeout=_FETCH_SECONDS))
    except TransportError as error:
        raise CredentialError(
            "the token endpoint does not answer", transient=True
        ) from error
    except GoogleAuthError as error:
        raise CredentialError(
            "the token endpoint refuses the service account", transient=error.retryable
        ) from error
    except ValueError as error:
        raise CredentialError(
            "CLARION_FCM_CREDENTIALS_FILE holds no service account key", transient=False
        ) from error
    ends: datetime = credentials.expiry.replace(tzinfo=UTC)
    return credentials.token, ends - datetime.now(UTC)
