"""Runs the rate limiter."""

from __future__ import annotations

from clarion.ratelimit.app import build
from clarion.ratelimit.settings import Settings
from clarion.runtime.entry import run
from clarion.runtime.program import Program

PROGRAM = Program("ratelimit", Settings, build)


def main() -> None:
    """The console entry point."""
    run(PROGRAM)


if __name__ == "__main__":
    main()
