"""Which sources can be given plain dicts. Pure.

The engine offers templates every attribute of a Python object, so they are given
``Values``, which hide the ones that change a dict and know when a method is printed
where a value is missing. But the engine asks a plain dict half as many questions; so
sources get plain ones where no method of a dict can be reached from them.
"""

from __future__ import annotations

import re

_METHODS = "clear|copy|fromkeys|get|items|keys|pop|popitem|setdefault|update|values"
_METHOD = re.compile(rf"(?:\.|\[\s*['\"])\s*(?:{_METHODS})\b")
# A list of that name is frequent, and looping over a method is an error in any case.
_LOOP = re.compile(
    r"\{%-?\s*for\s+[\w\s,]+\s+in\s+[A-Za-z_][\w.]*"
    r"(?:\.items|\['items'\]|\[\"items\"\])(?:\(\))?\s*-?%\}"
)
# What is in brackets is a text or a number and nothing that is computed.
_LITERAL = re.compile(r"\[\s*(?:'[^'\"\\\[\]]*'|\"[^'\"\\\[\]]*\"|-?\d*:?-?\d*)\s*\]")
_COMPUTED = re.compile(r"\[|attr|groupby|\|\s*(?:map|sort|unique|sum|min|max)\b")


def is_plain(source: str) -> bool:
    """Whether no method of a dict can be reached; False where that is not sure."""
    rest = _LOOP.sub("", source)
    if _METHOD.search(rest):
        return False
    return not _COMPUTED.search(_LITERAL.sub("", rest))
