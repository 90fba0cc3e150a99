"""POST requests to providers, by libcurl: ``transport`` is what services use."""

from __future__ import annotations
