"""What the suites of all members share."""

from __future__ import annotations

pytest_plugins = ["clarion.runtime.testing.servers"]
