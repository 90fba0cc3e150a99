"""Runs the templates."""

from __future__ import annotations

from clarion.runtime.service import run
from clarion.templating.app import build
from clarion.templating.settings import Settings


def main() -> None:
    """The console entry point."""
    run("templating", Settings, build)


if __name__ == "__main__":
    main()
