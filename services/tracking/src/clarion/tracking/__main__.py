"""The console entry point ``clarion-tracking``."""

from __future__ import annotations

from clarion.runtime.entry import run
from clarion.runtime.program import Program
from clarion.tracking.app import build
from clarion.tracking.settings import Settings

PROGRAM = Program("tracking", Settings, build)


def main() -> None:
    """Runs the tracking service."""
    run(PROGRAM)


if __name__ == "__main__":
    main()
