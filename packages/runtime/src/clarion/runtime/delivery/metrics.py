"""Every instrument of the delivery pipeline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from clarion.runtime.delivery.claims import ClaimState
from clarion.runtime.delivery.entry import Entry
from clarion.runtime.delivery.events import time_between
from clarion.runtime.delivery.outcome import OutcomeKind
from clarion.runtime.telemetry import meter

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)

_SAMPLES = 64
"""Times recorded of one batch; above, every n-th entry stands for n. The counters are
exact, the shape of the histograms is, their counts are not."""

_meter = meter()
_attempts = _meter.create_counter(
    "clarion.delivery.attempts",
    unit="{attempt}",
    description="Calls of a provider by outcome and reason",
)
_unsent = _meter.create_counter(
    "clarion.delivery.unsent",
    unit="{delivery}",
    description="Deliveries that no provider was called for, by state: folded, "
    "leased, cancelled, suppressed, expired, superseded",
)
_doubtful = _meter.create_counter(
    "clarion.delivery.possible_duplicates",
    unit="{delivery}",
    description="Sent although an earlier attempt may have been taken: cause crash "
    "(lease taken over) or unknown (no answer)",
)
_dead_letters = _meter.create_counter(
    "clarion.delivery.dead_letters",
    unit="{delivery}",
    description="Deliveries given up, by reason",
)
_follow_ups = _meter.create_counter(
    "clarion.delivery.follow_ups",
    unit="{delivery}",
    description="Failures that could not be told at once and wait in a schedule",
)
_held = _meter.create_counter(
    "clarion.delivery.held",
    unit="{try}",
    description="Tries to store results that met an unavailable server, by part",
)
_latency = _meter.create_histogram(
    "clarion.delivery.provider.duration",
    unit="s",
    description="From the request to the provider's answer; sampled under load",
    explicit_bucket_boundaries_advisory=_SECONDS,
)
_accept_to_provider = _meter.create_histogram(
    "clarion.delivery.accept_to_provider.duration",
    unit="s",
    description="From acceptance to the provider's answer, first attempts; "
    "sampled under load",
    explicit_bucket_boundaries_advisory=_SECONDS,
)
_queue_age = _meter.create_histogram(
    "clarion.delivery.queue.age",
    unit="s",
    description="How long the oldest message of a call had waited in the queue",
    explicit_bucket_boundaries_advisory=_SECONDS,
)

_UNSENT = {
    ClaimState.DONE: "folded",
    ClaimState.LEASED: "leased",
    ClaimState.WAITING: "superseded",
    ClaimState.CANCELLED: "cancelled",
    ClaimState.SUPPRESSED: "suppressed",
    ClaimState.EXPIRED: "expired",
}


def record_entries(channel: str, entries: Sequence[Entry]) -> None:
    """Counts entries that have been dealt with: counters once per distinct label."""
    attempts: Counter[tuple[str, str, str]] = Counter()
    unsent: Counter[str] = Counter()
    doubtful = 0
    for entry in entries:
        outcome = entry.outcome
        if outcome is None:
            unsent[_UNSENT[entry.claim.state]] += 1
            continue
        attempts[entry.provider, outcome.kind.value, outcome.reason] += 1
        if outcome.kind is OutcomeKind.SENT and entry.is_doubtful:
            doubtful += 1
    for (provider, kind, reason), count in attempts.items():
        _attempts.add(
            count,
            {
                "channel": channel,
                "provider": provider,
                "outcome": kind,
                "reason": reason,
            },
        )
    for state, count in unsent.items():
        _unsent.add(count, {"channel": channel, "state": state})
    if doubtful:
        _doubtful.add(doubtful, {"channel": channel, "cause": "crash"})
    # One record costs as much as building an event, so a large batch is sampled.
    for entry in entries[:: max(1, len(entries) // _SAMPLES)]:
        _record_times(channel, entry)


def _record_times(channel: str, entry: Entry) -> None:
    outcome = entry.outcome
    if outcome is None:
        return
    if entry.latency is not None:
        _latency.record(
            entry.latency.total_seconds(),
            {"channel": channel, "provider": entry.provider},
        )
    if (
        outcome.kind is OutcomeKind.SENT
        and entry.attempt == 1
        and entry.job.HasField("accepted_time")
    ):
        waited = time_between(entry.job.accepted_time, entry.at)
        _accept_to_provider.record(
            waited.total_seconds(), {"channel": channel, "lane": entry.lane}
        )


def record_unknown_retried(channel: str) -> None:
    """An UNKNOWN is sent again."""
    _doubtful.add(1, {"channel": channel, "cause": "unknown"})


def record_dead_letter(channel: str, reason: str) -> None:
    """A delivery was given up."""
    _dead_letters.add(1, {"channel": channel, "reason": reason})


def record_follow_ups(channel: str, count: int) -> None:
    """The failure handler did not work; it is called again later."""
    _follow_ups.add(count, {"channel": channel})


def record_held(channel: str, part: str) -> None:
    """Storing a part of the results met an unavailable server."""
    _held.add(1, {"channel": channel, "part": part})


def record_queue_age(channel: str, lane: str, age: timedelta) -> None:
    """A handler call begins."""
    _queue_age.record(age.total_seconds(), {"channel": channel, "lane": lane})
