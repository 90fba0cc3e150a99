"""NAME=VALUE on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any


def named_values(pairs: Iterable[str]) -> dict[str, Any]:
    """The values by name, for a template."""
    found = (pair.partition("=") for pair in pairs)
    return {name: _value(text) for name, _, text in found}


def _value(text: str) -> Any:
    # 20 is a number and true a truth; whatever is no JSON is the text itself.
    try:
        return json.loads(text)
    except ValueError:
        return text
