"""The process ``clarion-recipients``."""

from __future__ import annotations

from clarion.recipients.app import build
from clarion.recipients.settings import Settings
from clarion.runtime.entry import run
from clarion.runtime.program import Program

PROGRAM = Program("recipients", Settings, build)


def main() -> None:
    """The console entry point."""
    run(PROGRAM)


if __name__ == "__main__":
    main()
