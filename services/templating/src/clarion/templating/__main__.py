"""Runs the templates."""

from __future__ import annotations

from clarion.runtime.entry import run
from clarion.runtime.program import Program
from clarion.templating.app import build
from clarion.templating.settings import Settings

PROGRAM = Program("templating", Settings, build)


def main() -> None:
    """The console entry point."""
    run(PROGRAM)


if __name__ == "__main__":
    main()
