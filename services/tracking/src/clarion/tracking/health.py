"""The mesh's health: thresholds and how single answers make a check. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

HEALTHY, DEGRADED, UNHEALTHY = "healthy", "degraded", "unhealthy"
_ORDER = (HEALTHY, DEGRADED, UNHEALTHY)

LATENCY_THRESHOLD = timedelta(milliseconds=100)
DEPTH_THRESHOLD = 10_000

_PROVIDER_STATES: Mapping[str, str] = {
    "healthy": HEALTHY,
    "degraded": DEGRADED,
    "down": UNHEALTHY,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    status: str
    latency: timedelta = timedelta(0)
    depth: int = 0
    detail: str = ""


def worst(statuses: Iterable[str]) -> str:
    """The worst of them; healthy where there is none."""
    return max(statuses, key=_ORDER.index, default=HEALTHY)


def by_latency(took: timedelta) -> Finding:
    """It answered, after so long."""
    if took > LATENCY_THRESHOLD:
        limit = LATENCY_THRESHOLD.total_seconds()
        return Finding(DEGRADED, took, detail=f"took longer than {limit} s")
    return Finding(HEALTHY, took)


def by_depth(depth: int, took: timedelta) -> Finding:
    """So many messages wait."""
    if depth > DEPTH_THRESHOLD:
        detail = f"more than {DEPTH_THRESHOLD} messages wait"
        return Finding(DEGRADED, took, depth, detail)
    return Finding(HEALTHY, took, depth)


def by_providers(
    channels: Mapping[str, Mapping[str, str] | None], took: timedelta
) -> Finding:
    """Channel -> provider -> state, or None for a channel that does not answer.

    One channel lost leaves the others working, so the mesh is unhealthy only when no
    channel has a provider that is up.
    """
    problems: list[str] = []
    usable = 0
    for channel, providers in sorted(channels.items()):
        if providers is None:
            problems.append(f"{channel} does not answer")
            continue
        states = {p: _PROVIDER_STATES.get(s, DEGRADED) for p, s in providers.items()}
        usable += any(state != UNHEALTHY for state in states.values()) or not states
        problems += [
            f"{channel} {provider} is {providers[provider]}"
            for provider, state in sorted(states.items())
            if state != HEALTHY
        ]
    status = DEGRADED if problems else HEALTHY
    if channels and not usable:
        status = UNHEALTHY
    return Finding(status, took, detail="; ".join(problems))
