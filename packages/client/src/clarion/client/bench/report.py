"""What a benchmark found: values for machines, tables and plots for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_BARS = " ▁▂▃▄▅▆▇█"
_WIDTH = 60


@dataclass(slots=True)
class Report:
    """One result."""

    values: dict[str, object]
    """The JSON object."""
    lines: list[str] = field(default_factory=list)
    """The text, shown where JSON is not asked for."""


def table(title: str, columns: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Rows by name under columns of numbers, with a bar for the first column."""
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    first = next(iter(columns.values()), {})
    most = max([*first.values(), 1e-9])
    head = f"{title:14}" + "".join(f"{column:>14}" for column in columns)
    rows = []
    for name in names:
        cells = "".join(f"{column.get(name, 0):14,.1f}" for column in columns.values())
        bar = "█" * round(24 * max(first.get(name, 0), 0) / most)
        rows.append(f"  {name:12}{cells}  {bar}")
    return [head, *rows]


def plot(title: str, samples: Sequence[float]) -> str:
    """The samples over time as one line of bars."""
    if not samples:
        return f"{title:14}  (no samples)"
    step = max(1, -(-len(samples) // _WIDTH))
    groups = [samples[at : at + step] for at in range(0, len(samples), step)]
    means = [sum(group) / len(group) for group in groups]
    most = max([*means, 1e-9])
    bars = "".join(_BARS[round((len(_BARS) - 1) * max(m, 0) / most)] for m in means)
    return f"{title:14}  {bars}  most {max(samples):,.0f}"
