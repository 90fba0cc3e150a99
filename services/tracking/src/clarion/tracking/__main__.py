"""The console entry point ``clarion-tracking``."""

from __future__ import annotations

from clarion.runtime.service import run
from clarion.tracking.app import build
from clarion.tracking.settings import Settings


def main() -> None:
    """Runs the tracking service."""
    run("tracking", Settings, build)


if __name__ == "__main__":
    main()
