"""Log files of processes: rotated at the start, bounded while they run."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

LIMIT_BYTES = 16 * 1024 * 1024
_LOOK_SECONDS = 5.0


def rotate(log: Path) -> None:
    """Puts the log of the last start aside, as ``<name>.log.1``."""
    if log.exists():
        log.replace(_aside(log))


async def bound(logs: Iterable[Path], limit: int = LIMIT_BYTES) -> None:
    """Keeps logs below the limit, for ever; the last full one is put aside."""
    watched = list(logs)
    while True:
        for log in watched:
            cut(log, limit)
        await asyncio.sleep(_LOOK_SECONDS)


def cut(log: Path, limit: int) -> None:
    """Puts a copy aside and empties the log when it is over the limit."""
    try:
        if log.stat().st_size <= limit:
            return
    except FileNotFoundError:
        return
    # Its writer holds it open for appending, so a new file would stay empty. What is
    # written between the copy and the cut is lost; logs are not the record of anything.
    shutil.copyfile(log, _aside(log))
    os.truncate(log, 0)


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log; empty where there is none."""
    try:
        with log.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - 16_384))
            text = stream.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def _aside(log: Path) -> Path:
    return log.with_name(f"{log.name}.1")
