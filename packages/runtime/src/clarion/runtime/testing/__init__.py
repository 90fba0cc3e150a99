"""Doubles and harnesses for the tests of every service; never imported by one.

Import from the modules: ``fake_clock``, ``grpc_harness``, ``outcomes``, ``spans``,
``waiting``. The most used names are here as well. ``servers`` is a pytest plugin that
the repository's conftest.py loads; it needs clarion-client.
"""

from __future__ import annotations

from clarion.runtime.testing.fake_clock import FakeClock
from clarion.runtime.testing.grpc_harness import (
    INTERNAL_KEY,
    TENANT,
    TENANT_KEY,
    GrpcHarness,
    Refusal,
    refused,
    serve,
    write_keys,
)
from clarion.runtime.testing.spans import capture_spans
from clarion.runtime.testing.waiting import wait_until

__all__ = [
    "INTERNAL_KEY",
    "TENANT",
    "TENANT_KEY",
    "FakeClock",
    "GrpcHarness",
    "Refusal",
    "capture_spans",
    "refused",
    "serve",
    "wait_until",
    "write_keys",
]
