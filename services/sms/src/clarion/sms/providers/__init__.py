"""One third party per module."""

from __future__ import annotations
