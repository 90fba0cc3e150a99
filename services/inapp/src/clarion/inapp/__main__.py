"""The clarion-inapp program."""

from __future__ import annotations

from clarion.inapp.app import build
from clarion.inapp.settings import Settings
from clarion.runtime.service import run


def main() -> None:
    """Runs the service until it is told to stop."""
    run("inapp", Settings, build)


if __name__ == "__main__":
    main()
