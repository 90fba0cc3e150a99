"""Makes the server's streams and durables as the table says."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

from clarion.runtime import streams as table
from clarion.runtime.errors import UnavailableError
from clarion.runtime.jetstream.api import StreamApi
from clarion.runtime.jetstream.errors import StreamApiError

_OTHER_CONFIG = 10058
_CANNOT_CHANGE = 10012
_NOT_FOUND = 10014
_NO_STREAM = 10059
_TAKE_OVER_SECONDS = 10.0
_LOOK_SECONDS = 0.1


async def declare_streams(
    js: StreamApi,
    replicas: int,
    *,
    work_max_bytes: int = table.DEFAULT_WORK_MAX_BYTES,
) -> None:
    """Creates or updates every stream and durable; safe to repeat, also at once.

    ``js`` is ``Streams.js``. Raises StreamApiError where the server refuses, such as
    an existing stream with another retention.
    """
    for spec in table.streams(work_max_bytes=work_max_bytes):
        config = stream_config(spec, replicas)
        if not spec.fed_stages:
            await _until_taken_over(js, spec.name)
        await _declare_stream(js, config)
        # With the stream: what one that is declared later gives up is read by these.
        for durable in table.durables():
            if durable.stream == spec.name:
                await _renew_durable(js, durable)


async def declare_durable(js: StreamApi, spec: table.DurableSpec) -> None:
    """Creates or updates one durable."""
    await js.request(
        f"CONSUMER.CREATE.{spec.stream}.{spec.name}.{spec.filter_subject}",
        {
            "stream_name": spec.stream,
            "action": "",
            "config": {
                "name": spec.name,
                "durable_name": spec.name,
                "filter_subject": spec.filter_subject,
                "deliver_policy": spec.starts,
                "ack_policy": "explicit",
                "replay_policy": "instant",
                "ack_wait": _nanos(spec.ack_wait),
                "max_deliver": spec.max_deliver,
                "max_ack_pending": spec.max_ack_pending,
                "mem_storage": spec.in_memory,
            },
        },
    )


async def _renew_durable(js: StreamApi, spec: table.DurableSpec) -> None:
    try:
        await declare_durable(js, spec)
    except StreamApiError as exc:
        if exc.err_code != _CANNOT_CHANGE:
            raise
        # Made on disk by an earlier version: what is in hand is delivered again.
        await _delete_durable(js, spec)
        await declare_durable(js, spec)


async def _delete_durable(js: StreamApi, spec: table.DurableSpec) -> None:
    try:
        await js.request(f"CONSUMER.DELETE.{spec.stream}.{spec.name}")
    except StreamApiError as exc:
        if exc.err_code != _NOT_FOUND:
            raise


def stream_config(spec: table.StreamSpec, replicas: int) -> dict[str, Any]:
    """The server's JSON of a stream."""
    config: dict[str, Any] = {
        "name": spec.name,
        "subjects": list(spec.subjects),
        "description": spec.description,
        "retention": spec.retention,
        "storage": "file",
        "num_replicas": replicas,
        "discard": spec.discard,
        "max_age": _nanos(spec.max_age),
        "max_bytes": spec.max_bytes,
        "max_msgs": -1,
        "max_consumers": -1,
        "max_msg_size": -1,
        "duplicate_window": _nanos(spec.duplicate_window),
        "allow_direct": True,
    }
    if spec.schedules:
        config["allow_msg_schedules"] = True
        config["allow_msg_ttl"] = True
        config["allow_atomic"] = True
        # The server sets it with schedules; an update without it would be refused.
        config["allow_rollup_hdrs"] = True
    if spec.fed_stages:
        config["sources"] = [
            {
                "name": table.SCHED,
                "subject_transforms": [
                    {"src": f"due.{stage}.>", "dest": f"work.{stage}.>"}
                    for stage in spec.fed_stages
                ],
            }
        ]
    return config


async def _until_taken_over(js: StreamApi, name: str) -> None:
    """Waits until a stream that is fed no longer has all that had fired before."""
    until = time.monotonic() + _TAKE_OVER_SECONDS
    while True:
        try:
            info = await js.request(f"STREAM.INFO.{name}")
        except StreamApiError as exc:
            if exc.err_code == _NO_STREAM:
                return
            raise
        behind = sum(int(source["lag"]) for source in info.get("sources") or ())
        if not behind:
            return
        if time.monotonic() > until:
            raise UnavailableError(
                f"{name} has not taken over {behind} messages that fired: let the "
                "routers work it off and declare the streams again"
            )
        await asyncio.sleep(_LOOK_SECONDS)


async def _declare_stream(js: StreamApi, config: dict[str, Any]) -> None:
    try:
        await js.request(f"STREAM.CREATE.{config['name']}", config)
    except StreamApiError as exc:
        if exc.err_code != _OTHER_CONFIG:
            raise
        await js.request(f"STREAM.UPDATE.{config['name']}", config)


def _nanos(span: timedelta) -> int:
    return int(span / timedelta(microseconds=1)) * 1000
