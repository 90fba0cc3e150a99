"""Protobuf to domain and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import timedelta

from clarion.api.ratelimit.v1 import rate_limit_service_pb2 as pb
from clarion.ratelimit.limit_policy import LimitPolicy
from clarion.ratelimit.limiting import Wanted
from clarion.ratelimit.policy import DEFAULT, Asked, PartialLimit
from clarion.ratelimit.window import Refusal, Verdict, Window, moment
from clarion.runtime import chunks
from clarion.runtime.errors import FieldViolation, InvalidArgumentError
from clarion.runtime.streams import CHANNELS

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,63}")
_CHANNEL = re.compile(r"[a-z][a-z0-9_]{0,31}")
_ID_CHARACTERS = 128
_MAX_VIOLATIONS = 20
_MOST_MISSING = "is missing: say how many at most, 0 is none at all"
_MICROSECOND = timedelta(microseconds=1)


def wanted_of(items: Iterable[pb.AcquireItem], closely: bool) -> list[Wanted]:
    """The items in the domain's words; one without a category is of the default one.

    The contract leaves the items unchecked for speed, and most of it becomes keys.
    Types and channels are only looked at ``closely``, or where a type has own limits.
    """
    wanted = []
    checked = {""}
    violations: list[FieldViolation] = []
    for index, item in enumerate(items):
        category = item.category
        request_id, user_id = item.request_id, item.user_id
        if category not in checked and _NAME.fullmatch(category):
            checked.add(category)
        if not (
            category in checked
            and 0 < len(request_id) <= _ID_CHARACTERS
            and 0 < len(user_id) <= _ID_CHARACTERS
        ):
            violations += _violations(index, item)
            continue
        has = item.HasField
        personal = partial_of(item.personal_limit) if has("personal_limit") else None
        asked = None
        if closely or has("type_limits"):
            wrong = list(_unnamed(index, item))
            violations += wrong
            asked = None if wrong else _asked(item)
        wanted.append(Wanted(request_id, user_id, category or DEFAULT, personal, asked))
    if violations:
        raise InvalidArgumentError(violations=violations[:_MAX_VIOLATIONS])
    return wanted


def partial_of(limit: pb.FrequencyLimit) -> PartialLimit:
    """A limit of a day and a week."""
    return PartialLimit(
        limit.daily if limit.HasField("daily") else None,
        limit.weekly if limit.HasField("weekly") else None,
    )


def window_of(window: pb.LimitWindow, policy_id: str) -> Window:
    """One window of a policy."""
    span = window.span.ToTimedelta() // _MICROSECOND
    return Window(span, window.most, policy_id)


def message_of(window: Window) -> pb.LimitWindow:
    """The inverse of ``window_of``."""
    message = pb.LimitWindow(most=window.most)
    message.span.FromTimedelta(window.span * _MICROSECOND)
    return message


def policy_of(policy_id: str, policy: pb.LimitPolicy) -> LimitPolicy:
    """A policy under its id.

    Raises InvalidArgumentError where it cannot hold for anything, and for a window that
    does not say how many: 0, which is none at all, must be meant.
    """
    wrong = [
        FieldViolation(f"policy.windows[{index}].most", _MOST_MISSING, "required")
        for index, window in enumerate(policy.windows)
        if not window.HasField("most")
    ]
    if policy.channel and policy.channel not in CHANNELS:
        text = f"is not a channel of this mesh: use {', '.join(CHANNELS)}"
        wrong.append(FieldViolation("policy.channel", text, "channel.unknown"))
    if wrong:
        raise InvalidArgumentError(violations=wrong)
    return LimitPolicy(
        policy_id,
        policy.category,
        policy.type,
        policy.channel,
        tuple(window_of(window, policy_id) for window in policy.windows),
        policy.on_failure,
    )


def stored_policy(policy: LimitPolicy) -> pb.LimitPolicy:
    """The inverse of ``policy_of``."""
    return pb.LimitPolicy(
        policy_id=policy.policy_id,
        category=policy.category,
        type=policy.type,
        channel=policy.channel,
        windows=[message_of(window) for window in policy.windows],
        on_failure=policy.on_failure,
    )


def encoded_results(verdicts: Iterable[Verdict]) -> bytes:
    """A BatchAcquireResponse or BatchPeekResponse of what was said about each item."""
    known = _Encoded()
    return b"".join([known[verdict] for verdict in verdicts])


class _Encoded(dict[Verdict, bytes]):
    """Responses with one result; most of a batch fare alike."""

    def __missing__(self, verdict: Verdict) -> bytes:
        encoded = self[verdict] = chunks.join([_result(verdict).SerializeToString()])
        return encoded


def _result(verdict: Verdict) -> pb.AcquireResult:
    allowed, daily, weekly, exceeded, available, policy_id, free, refusals = verdict
    if allowed and not (free or refusals):
        return pb.AcquireResult(allowed=True, daily_used=daily, weekly_used=weekly)
    result = pb.AcquireResult(
        allowed=allowed,
        exceeded=exceeded,
        daily_used=daily,
        weekly_used=weekly,
        policy_id=policy_id,
        unchecked=free,
        channels=[_refusal(refusal) for refusal in refusals],
    )
    if available:
        result.available_time.FromDatetime(moment(available))
    return result


def _refusal(refusal: Refusal) -> pb.ChannelRefusal:
    message = pb.ChannelRefusal(
        channel=refusal.channel,
        exceeded=refusal.exceeded,
        policy_id=refusal.policy_id,
        unchecked=refusal.unchecked,
    )
    if refusal.available:
        message.available_time.FromDatetime(moment(refusal.available))
    return message


def _asked(item: pb.AcquireItem) -> Asked:
    channels = tuple(dict.fromkeys(item.channels))
    if not (item.type and item.HasField("type_limits")):
        return Asked(item.type, channels)
    limits = item.type_limits
    personal = None
    if limits.HasField("personal_limit"):
        personal = partial_of(limits.personal_limit)
    policy_id = f"type:{item.type}"
    windows = tuple(window_of(window, policy_id) for window in limits.windows)
    return Asked(item.type, channels, windows, personal)


def _violations(index: int, item: pb.AcquireItem) -> Iterator[FieldViolation]:
    for field in ("request_id", "user_id"):
        if not 0 < len(getattr(item, field)) <= _ID_CHARACTERS:
            yield FieldViolation(
                f"items[{index}].{field}",
                f"must have 1 to {_ID_CHARACTERS} characters",
                "string.len",
            )
    if item.category and not _NAME.fullmatch(item.category):
        yield _unmatched(f"items[{index}].category", _NAME)


def _unnamed(index: int, item: pb.AcquireItem) -> Iterator[FieldViolation]:
    if item.type and not _NAME.fullmatch(item.type):
        yield _unmatched(f"items[{index}].type", _NAME)
    for at, channel in enumerate(item.channels):
        if not _CHANNEL.fullmatch(channel):
            yield _unmatched(f"items[{index}].channels[{at}]", _CHANNEL)


def _unmatched(field: str, pattern: re.Pattern[str]) -> FieldViolation:
    return FieldViolation(field, f"must match {pattern.pattern}", "string.pattern")
