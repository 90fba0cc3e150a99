"""Texts that repeat, encoded once a batch."""

from __future__ import annotations

from struct import Struct

_LENGTH = Struct(">i").pack


class Words(dict[str, bytes]):
    """A text's bytes behind their length, as PostgreSQL's binary formats have them.

    Most columns repeat a few words; encoding those once is half the cost of a row.
    """

    def __missing__(self, word: str) -> bytes:
        raw = word.encode()
        made = self[word] = _LENGTH(len(raw)) + raw
        return made
