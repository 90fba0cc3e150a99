"""Runs the SMS channel."""

from __future__ import annotations

from clarion.runtime.service import run
from clarion.sms.app import build
from clarion.sms.settings import Settings


def main() -> None:
    """The console entry point."""
    run("sms", Settings, build)


if __name__ == "__main__":
    main()
