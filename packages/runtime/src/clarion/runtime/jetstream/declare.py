"""The set-up job: ``python -m clarion.runtime.jetstream.declare``.

Reads CLARION_NATS_URL, CLARION_STREAM_REPLICAS and CLARION_WORK_MAX_BYTES, and makes
the server agree with ``clarion.runtime.streams``. Safe to repeat.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from clarion.runtime import streams as table
from clarion.runtime.errors import ClarionError
from clarion.runtime.jetstream.connection import Streams
from clarion.runtime.jetstream.declaration import declare_streams

_log = logging.getLogger(__name__)


async def _main() -> None:
    environ = os.environ
    streams = await Streams.connect(
        environ.get("CLARION_NATS_URL", "nats://127.0.0.1:4222"), name="declare"
    )
    try:
        await declare_streams(
            streams.js,
            int(environ.get("CLARION_STREAM_REPLICAS", "1")),
            work_max_bytes=int(
                environ.get("CLARION_WORK_MAX_BYTES", table.DEFAULT_WORK_MAX_BYTES)
            ),
        )
    finally:
        await streams.close()
    _log.info(
        "streams declared",
        extra={"streams": len(table.streams()), "durables": len(table.durables())},
    )


if __name__ == "__main__":
    logging.basicConfig(level="INFO", stream=sys.stderr)
    try:
        asyncio.run(_main())
    except (ClarionError, ValueError) as exc:
        sys.exit(f"streams not declared: {exc}")
