"""Where the commands that talk to a mesh find it: options, else the local stack."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

if TYPE_CHECKING:
    from clarion.client.client import Client

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--target",
        envvar="CLARION_TARGET",
        metavar="HOST:PORT",
        help="The mesh's edge. Default: the stack that `clarion up` started.",
    ),
    click.option(
        "--key-file",
        envvar="CLARION_KEY_FILE",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A file with the API key. Default: the local stack's demo key.",
    ),
)


def connection_options(command: F) -> F:
    """Adds --target and --key-file."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


class FoundMesh(NamedTuple):
    """A mesh, and by what it is called."""

    target: str
    api_key: str


def found_mesh(target: str | None, key_file: Path | None, data: Path) -> FoundMesh:
    """What the options say, else the local stack."""
    if target is None or key_file is None:
        from clarion.client.embedded.credentials import Credentials
        from clarion.client.embedded.state import StateFile

        local = StateFile(data.absolute()).read()
        if target is None and not local.ready:
            raise click.ClickException(
                "no local stack is running: `clarion up` starts one, or give --target"
            )
        target = target or local.urls["grpc"]
        key_file = key_file or Credentials(data.absolute()).demo_key_file
    return FoundMesh(target, key_file.read_text().strip())


def run_with_client(
    target: str | None,
    key_file: Path | None,
    data: Path,
    use: Callable[[Client], Awaitable[None]],
) -> None:
    """Connects, runs, and prints what the mesh refuses as a plain error."""
    import asyncio

    from clarion.client.client import Client

    mesh = found_mesh(target, key_file, data)

    async def connected() -> None:
        async with Client(mesh.target, mesh.api_key) as client:
            await use(client)

    with plain_refusals():
        asyncio.run(connected())


@contextmanager
def plain_refusals() -> Iterator[None]:
    """Shows what the mesh refuses, with the fields, and no traceback."""
    from clarion.client.errors import ApiError

    try:
        yield
    except ApiError as error:
        lines = [f"{error.reason or error.code.name}: {error}"]
        lines += [f"  {v.field}: {v.description}" for v in error.violations]
        raise click.ClickException("\n".join(lines)) from error
    except KeyboardInterrupt:
        raise click.exceptions.Exit(130) from None
