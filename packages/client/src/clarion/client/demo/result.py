"""What the demonstration found, as the one line of JSON that it ends with. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

CHANNELS = ("push", "email", "sms", "in_app")


@dataclass(slots=True)
class Result:
    """Every figure comes from what arrived, held against what was accepted."""

    accepted: int = 0
    planned: int = 0
    delivered: dict[str, int] = field(default_factory=dict)
    skipped: int = 0
    rate_limited: int = 0
    failed: int = 0
    lost: int = 0
    duplicated: int = 0
    accept_to_provider_ms: dict[str, float] = field(default_factory=dict)
    rest: str = ""
    traced_services: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        """Whether nothing was lost, doubled or wrong."""
        return not (self.lost or self.duplicated or self.failed or self.problems)

    def as_json(self) -> dict[str, object]:
        """The result; ``problems`` only where there are some."""
        values = asdict(self)
        if not self.problems:
            del values["problems"]
        return values


def compare(
    expected: Counter[tuple[str, str]], arrived: Counter[tuple[str, str]]
) -> tuple[int, int]:
    """(lost, duplicated) by (notification_id, channel)."""
    lost = sum((expected - arrived).values())
    duplicated = sum(
        count - expected[key]
        for key, count in arrived.items()
        if key in expected and count > expected[key]
    )
    return lost, duplicated


def by_channel(arrived: Counter[tuple[str, str]]) -> dict[str, int]:
    """Messages by channel, every channel named."""
    totals = dict.fromkeys(CHANNELS, 0)
    for (_, channel), count in arrived.items():
        totals[channel] += count
    return totals


def percentiles(
    sent_ms: Mapping[str, float], arrived_ms: Mapping[tuple[str, str], int]
) -> dict[str, float]:
    """p50 and p99 of the time from the call of send to the provider, in ms."""
    waits = sorted(
        arrived - sent_ms[notification_id]
        for (notification_id, _), arrived in arrived_ms.items()
        if notification_id in sent_ms
    )
    if not waits:
        return {}
    return {
        name: round(_quantile(waits, share), 1)
        for name, share in (("p50", 0.5), ("p99", 0.99))
    }


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
