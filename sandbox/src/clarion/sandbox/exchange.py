"""One request, one reply: what the provider APIs see of HTTP, whatever its version."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from clarion.sandbox.record import Arrival, Store
from clarion.sandbox.script import Action, Script

JSON_TYPE = ("content-type", "application/json; charset=UTF-8")


@dataclass(slots=True)
class Request:
    """A request read to its end. Header names are looked up in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True, frozen=True)
class Reply:
    """An answer, and how the connection is to behave while giving it."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    delay_seconds: float = 0.0
    hang_up: bool = False
    """Close the connection in place of the answer."""


Handler = Callable[[Request], Reply]
"""Answers at once: whatever takes time is said in the reply, so no task is needed."""

Refuse = Callable[[Action], tuple[Reply, str] | None]
"""Provider's words for a scripted refusal and its outcome; None when it accepts."""


def json_reply(
    status: int, document: object, *headers: tuple[str, str], indent: int | None = None
) -> Reply:
    encode = _encode if indent is None else _encoder(indent).encode
    return Reply(status, encode(document).encode(), (JSON_TYPE, *headers))


def _encoder(indent: int | None) -> json.JSONEncoder:
    return json.JSONEncoder(ensure_ascii=False, indent=indent)


_encode = _encoder(None).encode
"""Kept, as json.dumps makes an encoder for each call that wants other than ASCII."""


def scripted_body(action: Action) -> tuple[bytes, str] | None:
    """The body that a rule prescribes with its content type, or None."""
    if action.body is None:
        return None
    if isinstance(action.body, str):
        return action.body.encode(), "text/plain; charset=UTF-8"
    return json.dumps(action.body).encode(), JSON_TYPE[1]


def retry_header(action: Action) -> tuple[tuple[str, str], ...]:
    """Retry-After as the rule says it, in seconds."""
    if action.retry_after is None:
        return ()
    return (("retry-after", f"{action.retry_after:g}"),)


def settle(
    store: Store, script: Script, arrival: Arrival, accepted: Reply, refuse: Refuse
) -> tuple[Reply, Action | None, bool]:
    """Record an arrival under the script; the reply, the rule's action, if accepted."""
    action = script.action_for(arrival.provider, arrival.channel, arrival.recipient)
    if action is None:
        store.add(arrival, "accepted", accepted=True)
        return accepted, None, True
    if action.hang_up == "before":
        store.add(arrival, "hang_up_before", accepted=False)
        return Reply(0, hang_up=True, delay_seconds=action.delay_seconds), action, False
    refusal = refuse(action)
    if refusal is not None:
        reply, outcome = refusal
        store.add(arrival, outcome, accepted=False)
    else:
        reply = accepted
        outcome = "hang_up_after" if action.hang_up == "after" else "accepted"
        store.add(arrival, outcome, accepted=True)
    body = scripted_body(action)
    if body is not None:
        kept = tuple(pair for pair in reply.headers if pair[0] != "content-type")
        headers = (("content-type", body[1]), *kept)
        reply = replace(reply, body=body[0], headers=headers)
    if action.status is not None and refusal is None:
        reply = replace(reply, status=action.status)
    reply = replace(
        reply,
        delay_seconds=action.delay_seconds,
        hang_up=action.hang_up == "after",
    )
    return reply, action, refusal is None
