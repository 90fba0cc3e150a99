"""A Lua script beside this module, run by its digest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from clarion.runtime.valkey import redis_errors

if TYPE_CHECKING:
    from redis.asyncio import Redis


class Script:
    """A Lua script called by its digest; loaded again when the server forgot it."""

    def __init__(self, redis: Redis, file: str) -> None:
        self._redis: Any = redis
        self._text = files(__package__).joinpath(file).read_text(encoding="utf-8")
        self._sha: str | None = None

    async def __call__(self, keys: Sequence[Any], args: Sequence[Any]) -> Any:
        from redis.exceptions import NoScriptError

        command: Callable[..., Awaitable[Any]] = self._redis.execute_command
        with redis_errors():
            if self._sha is None:
                self._sha = await self._redis.script_load(self._text)
            try:
                return await command("EVALSHA", self._sha, len(keys), *keys, *args)
            except NoScriptError:
                return await command("EVAL", self._text, len(keys), *keys, *args)
