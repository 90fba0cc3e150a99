"""The live view of a run: a table by channel and a progress bar."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from clarion.client.demo.plan import DemoPlan
from clarion.client.demo.result import CHANNELS
from clarion.client.demo.run import Demonstration

_LINE_SECONDS = 5.0


class Display:
    """Draws on a terminal; elsewhere it prints a line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            console=console,
        )
        self._sent = self._progress.add_task("accepted", total=None)
        self._arrived = self._progress.add_task("at the providers", total=None)
        self._live = Live(console=console, refresh_per_second=8, transient=False)
        self._lined = 0.0
        self._stage = ""

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def update(self, run: Demonstration) -> None:
        """Shows how far a run is."""
        if self._console.is_terminal:
            self._draw(run)
        elif run.stage != self._stage or time.monotonic() - self._lined > _LINE_SECONDS:
            self._lined, self._stage = time.monotonic(), run.stage
            arrived = sum(run.arrivals.counts.values())
            self._console.print(
                f"{run.stage}: {len(run.accepted)} accepted, "
                f"{arrived} at the providers, {run.in_app} in inboxes"
            )

    def _draw(self, run: Demonstration) -> None:
        accepted = len(run.accepted)
        arrived = run.arrivals.by_channel()
        seconds = max(time.monotonic() - self._started, 0.001)
        total = _total(run.plan)
        self._progress.update(self._sent, completed=accepted, total=total)
        self._progress.update(
            self._arrived, completed=sum(arrived.values()), total=total
        )
        table = Table(title=run.stage, title_justify="left")
        table.add_column("channel")
        table.add_column("arrived", justify="right")
        table.add_column("a second", justify="right")
        for channel in CHANNELS:
            count = run.in_app if channel == "in_app" else arrived[channel]
            table.add_row(channel, f"{count:,}", f"{count / seconds:,.0f}")
        self._live.update(Group(table, self._progress))


def _total(plan: DemoPlan) -> int:
    return plan.count + len(plan.unwanted()) + len(plan.floods())
