"""Runs the email channel."""

from __future__ import annotations

from clarion.email.app import build
from clarion.email.settings import Settings
from clarion.runtime.service import run


def main() -> None:
    """The console entry point."""
    run("email", Settings, build)


if __name__ == "__main__":
    main()
