"""The clarion-inapp program."""

from __future__ import annotations

from clarion.inapp.app import build
from clarion.inapp.settings import Settings
from clarion.runtime.entry import run
from clarion.runtime.program import Program

PROGRAM = Program("inapp", Settings, build)


def main() -> None:
    """Runs the service until it is told to stop."""
    run(PROGRAM)


if __name__ == "__main__":
    main()
