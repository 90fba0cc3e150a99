"""How a stack looks in a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from clarion.client.embedded.hosts import HOSTS
from clarion.client.embedded.state import StackState

_STYLES = {
    "ready": "green",
    "waiting": "dim",
    "starting": "yellow",
    "unhealthy": "red",
    "crashed": "bold red",
    "stopped": "dim",
}
# What a person opens or pastes; the other URLs hold passwords and are in stack.json.
_SHOWN_URLS = ("rest", "grpc", "sandbox")


def render(state: StackState) -> RenderableType:
    """A table of the processes and the URLs to use."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("process", "state", "pid", "port", "restarts", ""):
        right = column in ("pid", "port", "restarts")
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    for name, process in state.processes.items():
        # What a starting process does not answer yet is no news.
        problem = process.problem if process.state != "starting" else ""
        hosted = ", ".join(HOSTS.get(name, ()))
        table.add_row(
            name,
            Text(process.state, style=_STYLES.get(process.state, "")),
            str(process.pid or ""),
            str(process.port or ""),
            str(process.restarts or ""),
            Text(problem or hosted, style="dim", overflow="ellipsis"),
        )
    places = Table(box=None, pad_edge=False, show_header=False)
    for name in _SHOWN_URLS:
        if name in state.urls:
            places.add_row(name, Text(state.urls[name], style="cyan"))
    return Group(table, "", places)
