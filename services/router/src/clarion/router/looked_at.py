"""One rule that was looked at, and its encoding. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from clarion.api.router.v1.decision_pb2 import DecisionTrace, RuleOutcome
from clarion.runtime.chunks import field

PASS = "pass"
SKIP = "skip"
DEFER = "defer"
FAIL = "fail"

_RULES = DecisionTrace.RULES_FIELD_NUMBER


class LookedAt(NamedTuple):
    """A RuleOutcome; most of many decisions are alike, and a message costs more."""

    rule: str
    channel: str
    outcome: str
    detail: str


def encoded(rules: Iterable[LookedAt]) -> bytes:
    """The rules as fields of their DecisionTrace."""
    return b"".join(map(_field_of, rules))


@lru_cache(maxsize=4096)
def _field_of(looked_at: LookedAt) -> bytes:
    return field(_RULES, RuleOutcome(**looked_at._asdict()).SerializeToString())
