"""The command of a service: arguments, settings, exit code."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clarion.runtime import logs
from clarion.runtime.config import PREFIX, load_all
from clarion.runtime.errors import ConfigError
from clarion.runtime.program import Program
from clarion.runtime.serving import FailedError, Part, serve
from clarion.runtime.settings import RuntimeSettings

logger = logging.getLogger(__name__)

OK, FAILED, MISCONFIGURED = 0, 1, 2


def run(program: Program[Any]) -> None:
    """The console entry point of a service; ends the process.

    ``--check`` validates the settings and ends; ``migrate`` applies the service's SQL
    migrations and ends. The exit code is 0 after a signal, 2 for wrong settings and 1
    when something the service runs on has died.
    """
    sys.exit(command(program, sys.argv[1:], os.environ))


def command(
    program: Program[Any], arguments: list[str], environ: Mapping[str, str]
) -> int:
    """What ``run`` does; returns the exit code."""
    name = program.name
    parser = argparse.ArgumentParser(
        prog=f"clarion-{name}",
        description=f"The {name} service of Clarion.",
        epilog="Settings are environment variables; the README lists them.",
    )
    parser.add_argument(
        "command",
        nargs="?",
        choices=("serve", "migrate"),
        default="serve",
        help="serve (default), or migrate: apply the SQL migrations and end",
    )
    parser.add_argument(
        "--check", action="store_true", help="validate the settings and end"
    )
    given = parser.parse_args(arguments)
    try:
        if given.command == "migrate":
            logs.setup(name, environ.get(f"{PREFIX}LOG_LEVEL") or "INFO")
            return _migrate(name, environ)
        shared, own = load_all([RuntimeSettings, program.settings], environ)
        if given.check:
            return check([shared])
        logs.setup(name, shared.log_level)
        return until_signal(name, [Part(program, shared, own)])
    except ConfigError as wrong:
        return misconfigured(name, wrong)


def until_signal(name: str, parts: Sequence[Part[Any]]) -> int:
    """Serves; the exit code."""
    try:
        serve(name, parts)
    except FailedError:
        return FAILED
    return OK


def misconfigured(name: str, wrong: ConfigError) -> int:
    """Says what is wrong with the settings; the exit code."""
    for problem in wrong.problems:
        sys.stderr.write(f"clarion-{name}: {problem}\n")
    return MISCONFIGURED


def check(settings: Iterable[RuntimeSettings]) -> int:
    """Looks at what the settings name; raises ConfigError. The exit code."""
    from clarion.runtime.credentials import read_keys

    for one in settings:
        read_keys(one.api_keys_file)
    sys.stdout.write("settings are valid\n")
    return OK


def _migrate(name: str, environ: Mapping[str, str]) -> int:
    from clarion.runtime.migrations import migrate, migrations_of

    url = environ.get(f"{PREFIX}POSTGRES_URL")
    if not url:
        raise ConfigError(f"{PREFIX}POSTGRES_URL is not set: give the URL of postgres")
    applied = migrate(url, name, migrations_of(name))
    logger.info("migrations done", extra={"applied": len(applied)})
    return OK
