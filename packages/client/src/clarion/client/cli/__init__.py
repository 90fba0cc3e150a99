"""The ``clarion`` command line: one module per command, imported when it is called."""

from __future__ import annotations

from clarion.client.cli.group import main

__all__ = ["main"]
