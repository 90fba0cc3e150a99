"""Runs the rate limiter."""

from __future__ import annotations

from clarion.ratelimit.app import build
from clarion.ratelimit.settings import Settings
from clarion.runtime.service import run


def main() -> None:
    """The console entry point."""
    run("ratelimit", Settings, build)


if __name__ == "__main__":
    main()
