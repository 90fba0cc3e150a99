"""The whole mesh on one machine, from wheels: servers, services, sandbox and edge."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clarion.client.embedded.stack import Stack

__all__ = ["Stack"]


def __getattr__(name: str) -> object:
    # Late, so that a test which starts one server does not import the whole stack.
    if name == "Stack":
        from clarion.client.embedded.stack import Stack

        return Stack
    raise AttributeError(name)
