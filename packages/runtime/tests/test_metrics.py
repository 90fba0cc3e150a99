from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from clarion.runtime.metrics import Attribute, Name

ROOT = Path(__file__).parents[3]

PROGRAM = textwrap.dedent(
    """
    import json
    from datetime import UTC, datetime, timedelta

    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    from clarion.runtime.delivery import metrics as deliveries
    from clarion.runtime.delivery.attempts import Verdict
    from clarion.runtime.delivery.claims import Claim, ClaimState
    from clarion.runtime.delivery.entry import Entry
    from clarion.runtime.delivery.in_memory import make_job
    from clarion.runtime.delivery.outcome import Outcome
    from clarion.runtime.errors import UnavailableError
    from clarion.runtime.instruments import use_meter
    from clarion.runtime.jetstream import PoisonError
    from clarion.runtime.jetstream.metrics import MeasuringObserver

    reader = InMemoryMetricReader()
    use_meter(MeterProvider([reader]).get_meter("test"))
    now = datetime.now(UTC)

    def entry(outcome, state=ClaimState.CLAIMED, verdict=None):
        made = Entry(make_job(), "me", "high")
        made.job.accepted_time.FromDatetime(now - timedelta(seconds=2))
        made.claim, made.at, made.provider = Claim(state), now, "fcm"
        made.outcome, made.verdict = outcome, verdict
        made.latency = timedelta(milliseconds=40)
        return made

    deliveries.record_entries("push", [
        entry(Outcome.sent("m-1")),
        entry(Outcome.sent("m-2"), ClaimState.TAKEN_OVER),
        entry(Outcome.failed("unregistered_token")),
        entry(Outcome.retry("rate_limited")),
        entry(Outcome.unknown("timeout"), verdict=Verdict.EXHAUSTED),
        entry(None, ClaimState.CANCELLED),
    ])
    deliveries.record_dead_letter("push", "high", "attempts_exhausted")
    deliveries.record_held("push", "marks")
    deliveries.record_follow_ups("push", 2)
    observer = MeasuringObserver()
    observer.handled("intake-low", 3, timedelta(seconds=1.5))
    observer.handled("tracking", 1, timedelta(seconds=4))
    observer.held("in_app-high", 3, UnavailableError("down"))
    observer.failed("sms-medium", 2, KeyError("bug"))
    observer.dead_lettered("sms-medium", PoisonError("undecodable", "a detail"))
    print(json.dumps([
        {
            "name": metric.name,
            "unit": metric.unit,
            "labels": dict(point.attributes),
            "value": getattr(point, "value", None) or getattr(point, "sum", None),
            "buckets": list(getattr(point, "explicit_bounds", ())),
        }
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    ]))
    """
)


@pytest.fixture(scope="module")
def points() -> list[dict[str, Any]]:
    """What a process of its own recorded: it may have one meter provider."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return list(json.loads(done.stdout))


def values(points: list[dict[str, Any]], name: Name) -> dict[tuple[str, ...], float]:
    """Label values, in the order of the labels' names -> value."""
    return {
        tuple(point["labels"][key] for key in sorted(point["labels"])): point["value"]
        for point in points
        if point["name"] == name.value.name
    }


def test_every_instrument_is_made_by_one_module_for_one_purpose():
    made: dict[str, set[str]] = {}
    for folder in ("packages", "services"):
        for module in (ROOT / folder).glob("*/src/**/*.py"):
            for name in re.findall(r"\bName\.([A-Z_]+)\b", module.read_text()):
                made.setdefault(name, set()).add(module.name)

    assert set(made) == set(Name.__members__)
    unusual = {name for name, modules in made.items() if modules != {"metrics.py"}}
    assert unusual == {"RPC_DURATION"}


def test_no_two_instruments_have_the_same_name():
    names = [name.value.name for name in Name]

    assert len(set(names)) == len(names) == len(Name.__members__)


def test_only_declared_attributes_and_units_are_recorded(points):
    declared = {name.value.name: name.value for name in Name}

    for point in points:
        instrument = declared[point["name"]]
        assert {Attribute(key) for key in point["labels"]} <= instrument.attributes
        assert point["unit"] == instrument.unit
        assert tuple(point["buckets"]) == (instrument.buckets or ())


def test_deliveries_are_counted_by_channel_provider_and_reason(points):
    assert values(points, Name.DELIVERED) == {("push", "fcm"): 2}
    assert values(points, Name.FAILED) == {
        ("push", "fcm", "unregistered_token"): 1,
        ("push", "fcm", "attempts_exhausted"): 1,
    }
    assert values(points, Name.RETRIED) == {("push", "fcm", "rate_limited"): 1}
    assert values(points, Name.UNKNOWN) == {("push", "fcm", "timeout"): 1}
    assert values(points, Name.UNSENT) == {("push", "cancelled"): 1}
    assert values(points, Name.DUPLICATED) == {("push", "crash"): 1}


def test_latencies_are_by_outcome_and_the_whole_way_by_lane(points):
    latencies = values(points, Name.PROVIDER_LATENCY)

    assert {labels[1] for labels in latencies} == {"sent", "failed", "retry", "unknown"}
    assert list(values(points, Name.ACCEPT_TO_PROVIDER)) == [("push", "high")]
    assert sum(values(points, Name.ACCEPT_TO_PROVIDER).values()) == pytest.approx(4)


def test_every_consumer_tells_the_age_of_its_queue_by_stage_and_lane(points):
    assert values(points, Name.QUEUE_AGE) == {
        ("low", "intake"): 1.5,
        ("tracking",): 4,
    }


def test_messages_held_failed_and_given_up_are_counted_with_their_reason(points):
    held = values(points, Name.QUEUE_HELD)

    assert held == {("high", "UnavailableError", "in_app"): 3}
    assert values(points, Name.QUEUE_FAILED) == {("medium", "KeyError", "sms"): 2}
    assert values(points, Name.DEAD_LETTERED) == {
        ("high", "attempts_exhausted", "push"): 1,
        ("medium", "undecodable", "sms"): 1,
    }
