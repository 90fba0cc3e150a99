"""Runs the SMS channel."""

from __future__ import annotations

from clarion.runtime.entry import run
from clarion.runtime.program import Program
from clarion.sms.app import build
from clarion.sms.settings import Settings

PROGRAM = Program("sms", Settings, build)


def main() -> None:
    """The console entry point."""
    run(PROGRAM)


if __name__ == "__main__":
    main()
