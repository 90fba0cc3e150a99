"""The clarion-push program."""

from __future__ import annotations

from clarion.push.app import build
from clarion.push.settings import Settings
from clarion.runtime.service import run


def main() -> None:
    """Runs the service until it is told to stop."""
    run("push", Settings, build)


if __name__ == "__main__":
    main()
