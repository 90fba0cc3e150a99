"""The clarion-push program."""

from __future__ import annotations

from clarion.push.app import build
from clarion.push.settings import Settings
from clarion.runtime.entry import run
from clarion.runtime.program import Program

PROGRAM = Program("push", Settings, build)


def main() -> None:
    """Runs the service until it is told to stop."""
    run(PROGRAM)


if __name__ == "__main__":
    main()
