"""Any call of the REST API: everything for which the SDK has no method of its own."""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

import grpc
from google.protobuf.json_format import ParseDict, ParseError
from google.rpc.status_pb2 import Status

from clarion.client.errors import ApiError

Json = dict[str, Any]

_PATH = "/:?&=%@!$'()*+,;~-._"
"""What stays as it is in a path that was written by hand."""


def call_rest(
    target: str,
    api_key: str,
    method: str,
    path: str,
    *,
    body: Json | None = None,
    query: Sequence[tuple[str, str]] = (),
    deadline: timedelta = timedelta(seconds=15),
) -> Json:
    """One call of ``path`` at ``target`` (host:port of the edge); the answer's object.

    Calls once: whoever repeats it knows whether that is safe. Raises ApiError, also
    where the mesh does not answer.
    """
    where = quote(path, safe=_PATH)
    if query:
        where += ("&" if "?" in where else "?") + urlencode(query)
    headers = {"authorization": f"Bearer {api_key}", "accept": "application/json"}
    content = None
    if body is not None:
        content = json.dumps(body).encode()
        headers["content-type"] = "application/json"
    connection = http.client.HTTPConnection(target, timeout=deadline.total_seconds())
    try:
        connection.request(method, where, content, headers)
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, http.client.HTTPException) as error:
        message = f"{target} does not answer: {error}"
        raise ApiError(grpc.StatusCode.UNAVAILABLE, message) from error
    finally:
        connection.close()
    found = _object(text)
    if answer.status < HTTPStatus.BAD_REQUEST and found is not None:
        return found
    raise _refusal(answer.status, found, text)


def _refusal(status: int, found: Json | None, text: bytes) -> ApiError:
    try:
        told = ParseDict(found or {}, Status(), ignore_unknown_fields=True)
    except ParseError:
        told = Status()
    if told.code:
        return ApiError.of_status(told)
    # Not of the mesh itself: a proxy, or nothing that speaks this API.
    code = grpc.StatusCode.UNKNOWN
    if status in (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE):
        code = grpc.StatusCode.UNAVAILABLE
    said = text[:200].decode(errors="replace").strip() or "nothing"
    return ApiError(code, f"HTTP {status}, and no error of the mesh: {said}")


def _object(text: bytes) -> Json | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
