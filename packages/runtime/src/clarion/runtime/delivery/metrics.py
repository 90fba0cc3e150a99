"""Every instrument of the delivery pipeline."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Sequence

from clarion.runtime.delivery.attempts import Verdict
from clarion.runtime.delivery.claims import ClaimState
from clarion.runtime.delivery.entry import Entry
from clarion.runtime.delivery.events import ATTEMPTS_EXHAUSTED, micros_between
from clarion.runtime.delivery.outcome import OutcomeKind
from clarion.runtime.metrics import Attribute, Name, counter, histogram
from clarion.runtime.streams import flow_of

_SAMPLES = 16
"""Times recorded of one batch; above, every n-th entry stands for n. The counters are
exact, the shape of the histograms is, their counts are not."""

_delivered = counter(Name.DELIVERED)
_failed = counter(Name.FAILED)
_unsent = counter(Name.UNSENT)
_duplicated = counter(Name.DUPLICATED)
_dead_lettered = counter(Name.DEAD_LETTERED)
_follow_ups = counter(Name.FOLLOW_UPS)
_results_held = counter(Name.RESULTS_HELD)
_latency = histogram(Name.PROVIDER_LATENCY)
_accept_to_provider = histogram(Name.ACCEPT_TO_PROVIDER)

_BY_OUTCOME = {
    OutcomeKind.FAILED: _failed,
    OutcomeKind.RETRY: counter(Name.RETRIED),
    OutcomeKind.UNKNOWN: counter(Name.UNKNOWN),
}
_UNSENT = {
    ClaimState.DONE: "folded",
    ClaimState.LEASED: "leased",
    ClaimState.WAITING: "waiting",
    ClaimState.CANCELLED: "cancelled",
    ClaimState.SUPPRESSED: "suppressed",
    ClaimState.SUPERSEDED: "superseded",
    ClaimState.EXPIRED: "expired",
    ClaimState.HELD_BACK: "held_back",
}


def record_entries(channel: str, entries: Sequence[Entry]) -> None:
    """Counts entries that have been dealt with: counters once per distinct label."""
    sent: Tally[str] = Tally()
    settled: Tally[tuple[OutcomeKind, str, str]] = Tally()
    exhausted: Tally[str] = Tally()
    unsent: Tally[str] = Tally()
    doubtful = 0
    for entry in entries:
        outcome = entry.outcome
        if outcome is None:
            unsent[_UNSENT[entry.claim.state]] += 1
            continue
        if outcome.kind is OutcomeKind.SENT:
            sent[entry.provider] += 1
            doubtful += entry.is_doubtful
            continue
        settled[outcome.kind, entry.provider, outcome.reason] += 1
        if entry.verdict is Verdict.EXHAUSTED:
            exhausted[entry.provider] += 1
    for provider, count in sent.items():
        _delivered.add(
            count, {Attribute.CHANNEL: channel, Attribute.PROVIDER: provider}
        )
    for (kind, provider, reason), count in settled.items():
        _BY_OUTCOME[kind].add(
            count,
            {
                Attribute.CHANNEL: channel,
                Attribute.PROVIDER: provider,
                Attribute.REASON: reason,
            },
        )
    for provider, count in exhausted.items():
        _failed.add(
            count,
            {
                Attribute.CHANNEL: channel,
                Attribute.PROVIDER: provider,
                Attribute.REASON: ATTEMPTS_EXHAUSTED,
            },
        )
    for state, count in unsent.items():
        _unsent.add(count, {Attribute.CHANNEL: channel, Attribute.REASON: state})
    if doubtful:
        record_duplicated(channel, "crash", doubtful)
    # One record costs as much as building an event, so a large batch is sampled.
    for entry in entries[:: -(-len(entries) // _SAMPLES) or 1]:
        _record_times(channel, entry)


def _record_times(channel: str, entry: Entry) -> None:
    outcome = entry.outcome
    if outcome is None:
        return
    if entry.latency is not None:
        _latency.record(
            entry.latency.total_seconds(),
            {
                Attribute.CHANNEL: channel,
                Attribute.PROVIDER: entry.provider,
                Attribute.OUTCOME: outcome.kind.value,
            },
        )
    if (
        outcome.kind is OutcomeKind.SENT
        and entry.attempt == 1
        and entry.job.HasField("accepted_time")
    ):
        waited = micros_between(entry.job.accepted_time, entry.at)
        _accept_to_provider.record(
            waited / 1e6,
            {Attribute.CHANNEL: channel, Attribute.LANE: flow_of(entry.lane)},
        )


def record_duplicated(channel: str, cause: str, count: int = 1) -> None:
    """Sent, or to be sent, although the provider may have it: crash or unknown."""
    _duplicated.add(count, {Attribute.CHANNEL: channel, Attribute.REASON: cause})


def record_dead_letter(channel: str, lane: str, reason: str) -> None:
    """A delivery was given up."""
    _dead_lettered.add(
        1,
        {
            Attribute.STAGE: channel,
            Attribute.LANE: lane,
            Attribute.REASON: reason,
        },
    )


def record_follow_ups(channel: str, count: int) -> None:
    """The failure handler did not work; it is called again later."""
    _follow_ups.add(count, {Attribute.CHANNEL: channel})


def record_held(channel: str, part: str) -> None:
    """Storing a part of the results met an unavailable server."""
    _results_held.add(1, {Attribute.CHANNEL: channel, Attribute.PART: part})
