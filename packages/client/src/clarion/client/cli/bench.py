"""``clarion bench``: measures the mesh on this machine."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import click

from clarion.client.cli.options import plain_errors


class _Benches(click.Group):
    """A command for each benchmark of the registry; imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from clarion.client.bench.registry import BENCHES

        return list(BENCHES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        from clarion.client.bench.registry import BENCHES, load

        if cmd_name not in BENCHES:
            return None
        with plain_errors():
            bench = load(cmd_name)

        def call(as_json: bool, **options: Any) -> None:
            values = _run(cmd_name, options, as_json=as_json)
            if as_json:
                click.echo(json.dumps(values))

        return click.Command(
            cmd_name,
            callback=call,
            params=[_JSON, *bench.options],
            help=bench.run.__doc__,
        )

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        from clarion.client.bench.registry import BENCHES

        with formatter.section("Benchmarks"):
            formatter.write_dl(list(BENCHES.items()))


_JSON = click.Option(
    ["--json", "as_json"], is_flag=True, help="One line of JSON at the end."
)


@click.command(name="bench", cls=_Benches, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON at the end.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Measure the mesh in a stack of its own; without a name, all benchmarks in turn.

    \b
    Examples:
      clarion bench
      clarion bench throughput --seconds 20 --json
      clarion bench throughput --profile router --profile tracking
    """
    if ctx.invoked_subcommand is not None:
        return
    from clarion.client.bench.registry import BENCHES

    found = {}
    for name in BENCHES:
        defaults = defaults_of(name, ctx)
        click.echo(f"== {name}")
        found[name] = _run(name, defaults, as_json=as_json)
    if as_json:
        click.echo(json.dumps(found))


def defaults_of(name: str, parent: click.Context | None = None) -> dict[str, Any]:
    """The options of a benchmark as they are where none is given."""
    from clarion.client.bench.registry import load

    with plain_errors():
        alone = click.Command(name, params=list(load(name).options))
    return dict(alone.make_context(name, [], parent=parent).params)


def _run(name: str, options: dict[str, Any], *, as_json: bool) -> dict[str, object]:
    from clarion.client.bench.registry import load

    with plain_errors():
        report = asyncio.run(load(name).run(**options))
    if not as_json:
        for line in report.lines:
            click.echo(line)
    return report.values
