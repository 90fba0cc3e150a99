"""The group of all commands; it knows their names and imports the one that is called.

A command is a module ``clarion.client.cli.<name>`` with a click command ``command`` in
it, and a row in the table below. `clarion --help` imports none of them.
"""

from __future__ import annotations

import importlib
import importlib.util

import click

_PACKAGE = "clarion.client.cli"
# Section -> command -> what the list of commands says about it.
_COMMANDS = {
    "Local stack": {
        "up": "Start the whole mesh on this machine.",
        "status": "Show what runs.",
        "logs": "Show the logs of the processes.",
        "down": "Stop it; the data stays.",
        "demo": "Start it, send real notifications, show what happens.",
        "bench": "Measure it.",
    },
    "Notifications": {
        "send": "Send a notification.",
        "cancel": "Stop what has not been sent yet.",
        "reschedule": "Give what is still scheduled another time.",
        "get": "Show a notification and what became of it.",
        "list": "List notifications, also those that a broadcast made.",
        "explain": "Show why it was sent or not, or what would happen.",
        "watch": "Show what arrives, live.",
    },
    "Everything else": {
        "api": "Make any call of the REST API: types, schedules, preferences, limits.",
    },
}
_EXAMPLES = """\
Examples:
  clarion up                         start the mesh here, until Ctrl-C
  clarion up --detach                start it in the background
  clarion status
  clarion logs router --follow
  clarion down

Each command has more: clarion up --help
"""


class CommandGroup(click.Group):
    """A click group whose commands are modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [
            name
            for section in _COMMANDS.values()
            for name in section
            if importlib.util.find_spec(f"{_PACKAGE}.{name}") is not None
        ]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"{_PACKAGE}.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        there = self.list_commands(ctx)
        for section, commands in _COMMANDS.items():
            rows = [(name, text) for name, text in commands.items() if name in there]
            if rows:
                with formatter.section(section):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(f"\n{_EXAMPLES}")


@click.command(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="clarion-client")
def main() -> None:
    """Clarion: a notification mesh."""
