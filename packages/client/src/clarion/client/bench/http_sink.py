"""A local HTTP server that takes every POST: where Apprise sends to."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from aiohttp import web

from clarion.client.embedded import ports


class HttpSink:
    """``async with HttpSink() as sink``; counts what came."""

    def __init__(self) -> None:
        self.taken = 0
        self._port = ports.free_port()
        self._runner: web.AppRunner | None = None

    @property
    def apprise_url(self) -> str:
        """Apprise's way of saying: POST JSON to it."""
        return f"json://{ports.HOST}:{self._port}/"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/", self._take)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, ports.HOST, self._port).start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        await request.read()
        self.taken += 1
        return web.Response()
