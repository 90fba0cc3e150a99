"""The edge's configuration: Envoy starts when its template is there.

The template is text with ``${name}`` placeholders. Lines between ``#@if name`` and
``#@end`` stay only where that name has a value.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

from clarion.client.embedded.environment import SERVICES, WEBHOOK_LISTENERS
from clarion.client.embedded.errors import EmbeddedError
from clarion.client.embedded.ports import HOST

TEMPLATE = "envoy.yaml"
_DESCRIPTORS = "descriptors.binpb"
# No backslashes: the template has it in a quoted YAML text.
_LOCAL_ORIGINS = "https?://(localhost|127[.]0[.]0[.]1)(:[0-9]+)?"

Values = Mapping[str, str | int]


def edge_folder() -> Path | None:
    """The folder with ``envoy.yaml``; None where there is none.

    CLARION_EDGE_FOLDER, else ``edge/`` of the checkout that this package runs from,
    else ``edge/`` below the current folder.
    """
    given = os.environ.get("CLARION_EDGE_FOLDER")
    if given:
        return Path(given).absolute()
    for root in (*Path(__file__).resolve().parents, Path.cwd()):
        if (root / "edge" / TEMPLATE).is_file():
            return root / "edge"
    return None


def values(
    folder: Path, ports: Mapping[str, int], environ: Mapping[str, str]
) -> dict[str, str | int]:
    """What the template may use besides ``listen_port`` and ``admin_port``.

    ``otlp`` and its parts have a value when there is an OTLP/gRPC endpoint in the
    environment; the edge samples as OTEL_TRACES_SAMPLER says where that is a ratio,
    else everything.
    """
    filled: dict[str, str | int] = {
        "listen_host": HOST,
        "edge_folder": str(folder),
        "descriptor_path": str(_descriptors(folder)),
        "cors_origins": _LOCAL_ORIGINS,
    }
    for name in SERVICES:
        filled |= {f"{name}_host": HOST, f"{name}_port": ports[name]}
    for listener in WEBHOOK_LISTENERS:
        name = listener.replace(".", "_")
        filled |= {f"{name}_host": HOST, f"{name}_port": ports[listener]}
    endpoint = urlsplit(environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", ""))
    if endpoint.hostname:
        filled |= {
            "otlp": endpoint.geturl(),
            "otlp_host": endpoint.hostname,
            "otlp_port": endpoint.port or 4317,
            "trace_percent": _trace_percent(environ),
        }
    return filled


def _trace_percent(environ: Mapping[str, str]) -> str:
    ratio = environ.get("OTEL_TRACES_SAMPLER_ARG", "")
    if ratio and environ.get("OTEL_TRACES_SAMPLER", "").endswith("traceidratio"):
        return f"{float(ratio) * 100:g}"
    return "100"


def render(text: str, filled: Values) -> str:
    """The template with its values; EmbeddedError names a placeholder without one."""
    kept: list[str] = []
    wanted = True
    for line in text.splitlines(keepends=True):
        if line.startswith("#@if "):
            wanted = bool(filled.get(line.removeprefix("#@if ").strip()))
        elif line.startswith("#@end"):
            wanted = True
        elif wanted:
            kept.append(line)
    try:
        return Template("".join(kept)).substitute(filled)
    except (KeyError, ValueError) as exc:
        raise EmbeddedError(f"the template of the edge: bad placeholder {exc}") from exc


def _descriptors(folder: Path) -> Path:
    """The FileDescriptorSet of the contracts that are installed."""
    spec = importlib.util.find_spec("clarion.api")
    for place in (spec and spec.submodule_search_locations) or ():
        if (found := Path(place) / _DESCRIPTORS).is_file():
            return found
    return folder / _DESCRIPTORS
