"""The ``clarion`` command."""

from __future__ import annotations

from clarion.client.cli import main

if __name__ == "__main__":
    main()
