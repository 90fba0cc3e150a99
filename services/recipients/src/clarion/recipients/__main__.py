"""The process ``clarion-recipients``."""

from __future__ import annotations

from clarion.recipients.app import build
from clarion.recipients.settings import Settings
from clarion.runtime.service import run


def main() -> None:
    """The console entry point."""
    run("recipients", Settings, build)


if __name__ == "__main__":
    main()
