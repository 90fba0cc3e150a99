"""nats-py's client, with publishes that do not copy what they send."""

from __future__ import annotations

from typing import Any

import nats.aio.client

_LARGE = 32_768
"""Bytes from which copying costs more than one part more on the way to the socket."""


class NatsClient(nats.aio.client.Client):  # type: ignore[misc]  # has no types
    """A client that hands large messages to the socket as they are.

    nats-py joins each message with its command: two copies, mostly into memory that
    the kernel has to make ready first.
    """

    async def _send_publish(
        self,
        subject: str,
        reply: str,
        payload: bytes,
        payload_size: int,
        headers: dict[str, Any] | None,
    ) -> None:
        if payload_size < _LARGE or not headers or not _is_plain(headers):
            await super()._send_publish(subject, reply, payload, payload_size, headers)
            return
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        header = f"NATS/1.0\r\n{lines}\r\n".encode()
        size = len(header) + payload_size
        command = f"HPUB {subject} {reply} {len(header)} {size}\r\n".encode() + header
        self.stats["out_msgs"] += 1
        self.stats["out_bytes"] += payload_size
        # Without waiting in between: nothing else may come among the parts.
        self._pending += (command, payload)
        self._pending_data_size += len(command) + payload_size
        await self._send_command(b"\r\n")
        if self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()


def _is_plain(headers: dict[str, Any]) -> bool:
    """Whether nats-py would write the headers as they are."""
    return all(
        [
            name.replace("-", "").isalnum() and value.isascii() and value.isprintable()
            for name, value in headers.items()
        ]
    )
