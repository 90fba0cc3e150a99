"""The clarion-router program."""

from __future__ import annotations

from clarion.router.app import build
from clarion.router.settings import Settings
from clarion.runtime.service import run


def main() -> None:
    """Runs the service until it is told to stop."""
    run("router", Settings, build)


if __name__ == "__main__":
    main()
