"""Options that several commands share, and how they report what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_DATA = Path(".clarion")


def data_option(function: F) -> F:
    """``--data``: the folder of the stack."""
    return click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        default=_DATA,
        show_default=True,
        envvar="CLARION_DATA",
        show_envvar=True,
        help="Folder with everything that the stack keeps.",
    )(function)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Shows what the embedded stack cannot do as a message, without a traceback."""
    try:
        from clarion.client.embedded.errors import EmbeddedError
    except ImportError as exc:
        raise click.ClickException(_not_installed(exc)) from exc
    try:
        yield
    except EmbeddedError as exc:
        raise click.ClickException(str(exc)) from exc
    except ModuleNotFoundError as exc:
        raise click.ClickException(_not_installed(exc)) from exc


def _not_installed(error: ImportError) -> str:
    return (
        f"The embedded stack is not installed ({error}). "
        "Install it with `pip install 'clarion-client[embedded]'`."
    )
