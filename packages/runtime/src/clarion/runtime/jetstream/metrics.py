"""Every instrument of the consumers: what waits, is held, fails and is given up."""

from __future__ import annotations

from datetime import timedelta
from functools import cache

from clarion.runtime.jetstream.errors import PoisonError
from clarion.runtime.metrics import Attribute, Name, counter, histogram
from clarion.runtime.streams import FLOWS, flow_of

_age = histogram(Name.QUEUE_AGE)
_held = counter(Name.QUEUE_HELD)
_failed = counter(Name.QUEUE_FAILED)
_dead_lettered = counter(Name.DEAD_LETTERED)


class MeasuringObserver:
    """The ConsumerObserver of a Consumer that is given none: measures by durable."""

    def handled(self, durable: str, messages: int, queue_age: timedelta) -> None:
        _age.record(queue_age.total_seconds(), _labels(durable))

    def failed(self, durable: str, messages: int, error: BaseException) -> None:
        _failed.add(messages, _labels(durable) | _reason(error))

    def held(self, durable: str, messages: int, error: BaseException) -> None:
        _held.add(messages, _labels(durable) | _reason(error))

    def dead_lettered(self, durable: str, error: BaseException) -> None:
        _dead_lettered.add(1, _labels(durable) | _reason(error))


@cache
def _labels(durable: str) -> dict[str, str]:
    """Stage and flow; of a durable that has no lanes, its name as the stage."""
    stage, _, flow = durable.partition("-")
    flow = flow_of(flow.replace("-", "."))
    if flow in FLOWS:
        return {Attribute.STAGE: stage, Attribute.LANE: flow}
    return {Attribute.STAGE: durable}


def _reason(error: BaseException) -> dict[str, str]:
    word = error.word if isinstance(error, PoisonError) else type(error).__name__
    return {Attribute.REASON: word}
