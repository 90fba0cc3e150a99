"""What a registered type says about digests: checked, completed, turned into a policy.

Pure.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration

from clarion.api.router.v1.notification_type_service_pb2 import (
    Digest,
    NotificationType,
)
from clarion.router.admission import Object
from clarion.router.digests.windows import CRON, FIXED, SLIDING, DigestPolicy
from clarion.router.schedules.cron import CronError, next_after, parse
from clarion.runtime.time_zones import REMEDY, is_time_zone

LEAST = timedelta(seconds=1)
MOST = timedelta(days=31)
SLIDES = 10
"""Windows after which a sliding one closes that does not say when."""

_TEMPLATE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_ANY_DAY = datetime(2026, 1, 1, tzinfo=UTC)


def complete(full: NotificationType) -> None:
    """Fills in what a digest leaves open."""
    if not full.HasField("digest"):
        return
    digest = full.digest
    digest.mode = digest.mode or FIXED
    if digest.mode == SLIDING and not digest.HasField("longest"):
        longest = min(SLIDES * digest.window.ToTimedelta(), MOST)
        digest.longest.FromTimedelta(longest)


def policy_of(full: NotificationType) -> DigestPolicy | None:
    """What routing needs of a completed definition."""
    if full.HasField("digest_window"):
        return DigestPolicy(window=full.digest_window.ToTimedelta())
    if not full.HasField("digest"):
        return None
    digest = full.digest
    slides = digest.mode == SLIDING
    return DigestPolicy(
        mode=digest.mode,
        window=digest.window.ToTimedelta(),
        longest=digest.longest.ToTimedelta() if slides else None,
        cron=digest.cron,
        time_zone=digest.time_zone,
        template_id=digest.template_id,
    )


def judge(given: NotificationType, object_to: Object) -> None:
    """Objects to what cannot be honoured."""
    if given.HasField("digest_window"):
        _judge_length(given.digest_window, "digest_window", object_to)
        if given.HasField("digest"):
            text = "says the same as digest: give one of them"
            object_to("digest_window", text, "digest.twice")
    if not given.HasField("digest"):
        return
    digest = given.digest
    mode = digest.mode or FIXED
    if mode == CRON:
        _judge_cron(digest, object_to)
    else:
        _judge_length(digest.window, "digest.window", object_to)
    for field, modes in _BELONGS.items():
        is_given = field in {set_.name for set_, _ in digest.ListFields()}
        if is_given and mode not in modes:
            text = f"does not belong to mode {mode}"
            object_to(f"digest.{field}", text, "digest.mode")
    if mode == SLIDING and digest.HasField("longest"):
        _judge_length(digest.longest, "digest.longest", object_to)
        if _seconds(digest.longest) < _seconds(digest.window):
            text = "must not be shorter than window"
            object_to("digest.longest", text, "digest.longest")
    if digest.template_id and not _TEMPLATE_ID.fullmatch(digest.template_id):
        text = "is not the id of a template"
        object_to("digest.template_id", text, "string.pattern")


_BELONGS = {
    "window": (FIXED, SLIDING),
    "longest": (SLIDING,),
    "cron": (CRON,),
    "time_zone": (CRON,),
}


def _judge_cron(digest: Digest, object_to: Object) -> None:
    try:
        cron = parse(digest.cron)
    except CronError as error:
        object_to("digest.cron", str(error), "cron.syntax")
    else:
        if next_after(cron, UTC, _ANY_DAY) is None:
            object_to("digest.cron", "never comes", "cron.never")
    if digest.time_zone and not is_time_zone(digest.time_zone):
        object_to("digest.time_zone", REMEDY, "time_zone")


def _judge_length(given: Duration, field: str, object_to: Object) -> None:
    if not LEAST.total_seconds() <= _seconds(given) <= MOST.total_seconds():
        text = f"must be a second to {MOST.days} days"
        object_to(field, text, "duration.range")


def _seconds(given: Duration) -> float:
    return given.seconds + given.nanos / 1e9
