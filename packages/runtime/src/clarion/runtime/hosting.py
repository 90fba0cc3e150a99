"""``clarion-host``: several services in one process.

Each stays what it is alone: its settings, its port, its health, its name in logs and
traces, and its release. What they ask of each other stays in the process
(``clarion.runtime.near``), which saves most of what a call costs; in exchange they
share one core, and end together.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping

from clarion.runtime import logs
from clarion.runtime.config import PREFIX, load_all
from clarion.runtime.entry import check, misconfigured, until_signal
from clarion.runtime.errors import ConfigError
from clarion.runtime.program import installed
from clarion.runtime.serving import Part
from clarion.runtime.settings import RuntimeSettings

PROGRAM = "host"


def main() -> None:
    """The console entry point; ends the process."""
    sys.exit(command(sys.argv[1:], os.environ))


def command(arguments: list[str], environ: Mapping[str, str]) -> int:
    """What ``main`` does; returns the exit code (see ``clarion.runtime.entry``)."""
    parser = argparse.ArgumentParser(
        prog="clarion-host",
        description="Runs several services of Clarion in one process.",
        epilog="CLARION_ROUTER__LISTEN is the CLARION_LISTEN of the router alone; what "
        "has no such prefix is for all.",
    )
    parser.add_argument(
        "services",
        nargs="+",
        metavar="SERVICE",
        help="the services; the first may call the others and is stopped first",
    )
    parser.add_argument(
        "--check", action="store_true", help="validate the settings and end"
    )
    given = parser.parse_args(arguments)
    try:
        parts = _parts(dict.fromkeys(given.services), environ)
        if given.check:
            return check(part.shared for part in parts)
        logs.setup(PROGRAM, parts[0].shared.log_level)
        return until_signal(PROGRAM, parts)
    except ConfigError as wrong:
        return misconfigured(PROGRAM, wrong)


def environment_of(service: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment as that service is to see it."""
    prefix = f"{PREFIX}{service.upper()}__"
    own = {
        PREFIX + name.removeprefix(prefix): value
        for name, value in environ.items()
        if name.startswith(prefix)
    }
    return {**environ, **own}


def _parts(names: Iterable[str], environ: Mapping[str, str]) -> list[Part[object]]:
    parts: list[Part[object]] = []
    problems: list[str] = []
    for name in names:
        try:
            program = installed(name)
            shared, own = load_all(
                [RuntimeSettings, program.settings], environment_of(name, environ)
            )
        except ConfigError as wrong:
            problems += [f"{name}: {one}" for one in wrong.problems]
        else:
            parts.append(Part(program, shared, own))
    if problems:
        raise ConfigError(problems)
    return parts
