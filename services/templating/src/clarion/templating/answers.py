"""The answer of BatchRender, encoded while it is put together. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from clarion.api.templating.v1.template_service_pb2 import RenderResult
from clarion.runtime.status import message_of
from clarion.runtime.wire_text import SIZES, latin
from clarion.templating.rendering import Outcome


def encoded(keys: Iterable[str], rendered: Iterable[Iterable[Outcome]]) -> bytes:
    """A BatchRenderResponse: for each key the results of its channels."""
    results = []
    for key, outcomes in zip(keys, rendered, strict=True):
        for outcome in outcomes:
            result = _result(key, outcome)
            results.append(f"\x0a{SIZES[len(result)]}{result}")
    return "".join(results).encode("latin-1")


def _result(key: str, outcome: Outcome) -> str:
    channel, template_id, version, rendered, error = outcome
    if rendered is None:
        failed = RenderResult(key=key, channel=channel)
        if error is not None:
            failed.error.CopyFrom(message_of(error))
        return failed.SerializeToString().decode("latin-1")
    title, body, html, locale = rendered
    if not f"{key}{channel}{title}{body}{html}".isascii():
        key, channel = latin(key), latin(channel)
        title, body, html = latin(title), latin(body), latin(html)
    # ``data`` is the caller's own and stays with it: it is not copied back.
    content = (
        f"\x0a{SIZES[len(title)]}{title}\x12{SIZES[len(body)]}{body}"
        f"{_origin(template_id, version, locale)}"
    )
    if html:
        content += f"\x1a{SIZES[len(html)]}{html}"
    return (
        f"\x0a{SIZES[len(key)]}{key}\x12{SIZES[len(channel)]}{channel}"
        f"\x1a{SIZES[len(content)]}{content}"
    )


@lru_cache(maxsize=4096)
def _origin(template_id: str, version: int, locale: str) -> str:
    """The fields of a Content that tell where it comes from."""
    template_id, locale = latin(template_id), latin(locale)
    return (
        f"\x2a{SIZES[len(template_id)]}{template_id}\x30{SIZES[version]}"
        f"\x3a{SIZES[len(locale)]}{locale}"
    )
