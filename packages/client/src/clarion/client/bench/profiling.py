"""Profiles running processes with py-spy and shows where their time goes."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from clarion.client.embedded import Stack
from clarion.client.embedded.errors import MissingProgramError

_RATE = 200
_SHOWN = 25


@dataclass(frozen=True, slots=True)
class Profile:
    """The samples of one process."""

    name: str
    folded: Path
    """Stacks with their counts, one a line: for flamegraph.pl or speedscope.app."""

    def lines(self) -> list[str]:
        """The functions by their own time and with what they call."""
        own: Counter[str] = Counter()
        total: Counter[str] = Counter()
        samples = 0
        for line in self.folded.read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            frames = stack.split(";")
            number = int(count)
            samples += number
            own[frames[-1]] += number
            for frame in set(frames):
                total[frame] += number
        if not samples:
            return [f"{self.name}: no samples"]
        text = [f"{self.name}: {samples} samples, in {self.folded}", "    own"]
        text += _shares(own, samples)
        text.append("    with what it calls")
        return text + _shares(total, samples)


async def record(
    stack: Stack,
    names: Iterable[str],
    seconds: float,
    folder: Path,
    *,
    native: bool = False,
) -> list[Profile]:
    """Profiles the named processes of the stack (or ``load``) for so long."""
    program = Path(sys.executable).with_name("py-spy")
    if not program.exists():
        raise MissingProgramError("--profile needs py-spy: pip install py-spy")
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    return await asyncio.gather(
        *(_record(program, stack, name, seconds, folder, native) for name in names)
    )


async def _record(
    program: Path, stack: Stack, name: str, seconds: float, folder: Path, native: bool
) -> Profile:
    try:
        process = stack.process(name)
    except KeyError:
        known = ", ".join(stack.state.processes)
        raise MissingProgramError(
            f"--profile: no process {name!r}, there are {known}"
        ) from None
    folded = folder / f"{name}.folded"
    arguments = (
        *("record", "--pid", str(process.pid), "--format", "raw", "--rate", str(_RATE)),
        *("--duration", str(max(1, round(seconds))), "--function"),
        *("--output", str(folded)),
        *(("--native",) if native else ()),
    )
    spy = await asyncio.create_subprocess_exec(
        str(program),
        *arguments,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await spy.communicate()
    if spy.returncode or not folded.exists():
        raise MissingProgramError(
            f"py-spy could not profile {name}: {errors.decode()[-300:]}"
        )
    return Profile(name, folded)


def _shares(counts: Counter[str], samples: int) -> list[str]:
    return [
        f"      {100 * count / samples:5.1f} %  {frame}"
        for frame, count in counts.most_common(_SHOWN)
    ]
