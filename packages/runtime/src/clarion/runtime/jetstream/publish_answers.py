"""Publishing with an answer from the stream; all answers come to one inbox."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import nats.js.errors

_NO_RESPONDERS = "503"


class PublishAnswers:
    """What a stream says to each publish on a connection.

    nats-py's own requests cost twice as much: random tokens, more tasks and timers, and
    an object of each answer.
    """

    def __init__(self, nc: Any) -> None:
        self._nc = nc
        self._inbox = ""
        self._subscribing = asyncio.Lock()
        self._published = 0
        self._waiting: dict[str, asyncio.Future[bytes]] = {}

    async def publish(
        self, subject: str, body: bytes, headers: Mapping[str, str], seconds: float
    ) -> dict[str, Any]:
        """The stream's answer. Raises TimeoutError and what nats-py raises."""
        if not self._inbox:
            await self._subscribe()
        self._published += 1
        token = str(self._published)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        self._waiting[token] = answer
        late = loop.call_later(seconds, _give_up, answer)
        try:
            reply = f"{self._inbox}.{token}"
            await self._nc.publish(subject, body, reply=reply, headers=headers)
            said: dict[str, Any] = json.loads(await answer)
        finally:
            late.cancel()
            del self._waiting[token]
        if "error" in said:
            raise nats.js.errors.APIError.from_error(said["error"])
        return said

    async def _subscribe(self) -> None:
        async with self._subscribing:
            if not self._inbox:
                inbox = self._nc.new_inbox()
                await self._nc.subscribe(f"{inbox}.*", cb=self._answered)
                self._inbox = inbox

    async def _answered(self, message: Any) -> None:
        _, _, token = message.subject.rpartition(".")
        answer = self._waiting.get(token)
        if answer is None or answer.done():
            return
        if message.headers and message.headers.get("Status") == _NO_RESPONDERS:
            answer.set_exception(nats.js.errors.NoStreamResponseError())
        else:
            answer.set_result(message.data)


def _give_up(answer: asyncio.Future[bytes]) -> None:
    if not answer.done():
        answer.set_exception(TimeoutError("the stream did not answer"))
