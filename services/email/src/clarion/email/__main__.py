"""Runs the email channel."""

from __future__ import annotations

from clarion.email.app import build
from clarion.email.settings import Settings
from clarion.runtime.entry import run
from clarion.runtime.program import Program

PROGRAM = Program("email", Settings, build)


def main() -> None:
    """The console entry point."""
    run(PROGRAM)


if __name__ == "__main__":
    main()
