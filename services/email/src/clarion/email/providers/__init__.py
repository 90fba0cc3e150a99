"""One third party in each module."""

from __future__ import annotations
