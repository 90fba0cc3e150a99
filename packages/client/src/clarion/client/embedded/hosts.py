"""Which services of a local stack share a process."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from types import MappingProxyType

APART = "CLARION_APART"
"""Environment variable: true runs every service in a process of its own."""

HOSTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        # The router first: it calls the others.
        "deciding": ("router", "recipients", "ratelimit", "templating"),
        "channels": ("push", "email", "sms", "inapp"),
    }
)
"""Process -> its services. What they ask of each other does not leave it, and a machine
with few cores changes less often from one process to another."""


def is_apart(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment asks for a process for each service."""
    return environ.get(APART, "").lower() in {"1", "true", "yes", "on"}


def processes_of(
    services: Iterable[str], *, apart: bool = False
) -> dict[str, tuple[str, ...]]:
    """Process -> services, for those that run; one that is alone gives the name."""
    running = tuple(services)
    processes: dict[str, tuple[str, ...]] = {}
    for host, members in HOSTS.items():
        together = tuple(name for name in members if name in running)
        if len(together) > 1 and not apart:
            processes[host] = together
    placed = {name for members in processes.values() for name in members}
    return processes | {name: (name,) for name in running if name not in placed}


def shared_environment(
    environments: Mapping[str, Mapping[str, str]],
) -> dict[str, str]:
    """The variables of several services for the process that hosts them.

    What all have alike is there once, the rest with the service's name before it:
    ``CLARION_ROUTER__LISTEN``.
    """
    alike = set.intersection(*(set(one.items()) for one in environments.values()))
    variables = dict(alike)
    for service, environment in environments.items():
        for name, value in environment.items():
            if (name, value) not in alike:
                own = name.removeprefix("CLARION_")
                variables[f"CLARION_{service.upper()}__{own}"] = value
    return variables
