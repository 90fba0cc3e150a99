"""The JetStream API as raw JSON requests: what nats-py cannot express."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import nats.errors

from clarion.runtime.errors import UnavailableError
from clarion.runtime.jetstream.errors import StreamApiError
from clarion.runtime.retry import backoff

_TRY = 5.0


class StreamApi:
    """Requests to ``$JS.API``. Every request used here may be repeated safely."""

    def __init__(self, nc: Any, *, patience: timedelta = timedelta(seconds=20)) -> None:
        self._nc = nc
        self._patience = patience.total_seconds()

    async def request(
        self, name: str, body: Mapping[str, object] | None = None
    ) -> dict[str, Any]:
        """The decoded answer to ``$JS.API.<name>``.

        Retries while nobody answers (an election, a restart), at most ``patience``,
        then raises UnavailableError; a refusal raises StreamApiError.
        """
        payload = json.dumps(body).encode() if body is not None else b""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._patience
        attempt = 0
        while True:
            attempt += 1
            try:
                reply = await self._nc.request(f"$JS.API.{name}", payload, timeout=_TRY)
                return _decoded(name, json.loads(reply.data))
            except (TimeoutError, nats.errors.Error) as exc:
                if loop.time() >= give_up or isinstance(
                    exc, nats.errors.ConnectionClosedError
                ):
                    raise UnavailableError(f"no answer to {name}") from exc
            except _NotReadyError as exc:
                if loop.time() >= give_up:
                    raise UnavailableError(f"JetStream is not ready: {exc}") from exc
            wait = backoff(attempt, most=timedelta(seconds=1))
            await asyncio.sleep(wait.total_seconds())


class _NotReadyError(Exception):
    pass


def _decoded(name: str, answer: dict[str, Any]) -> dict[str, Any]:
    error = answer.get("error")
    if error is None:
        return answer
    if error.get("code") == 503:
        raise _NotReadyError(error.get("description", ""))
    raise StreamApiError(
        name,
        int(error.get("code", 0)),
        int(error.get("err_code", 0)),
        str(error.get("description", "")),
    )
