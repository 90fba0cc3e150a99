"""Which service of the process the code under way belongs to.

A process may host several: their logs and spans tell them apart by this.
"""

from __future__ import annotations

from contextvars import Context, ContextVar

_service: ContextVar[str] = ContextVar("clarion_service", default="")


def current_service() -> str:
    """The service's name; empty outside any."""
    return _service.get()


def context_of(service: str) -> Context:
    """A context with nothing in it but the service, for work that outlives its
    starter: no caller, deadline or trace is inherited."""
    context = Context()
    context.run(_service.set, service)
    return context
