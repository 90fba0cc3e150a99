"""Free loopback ports, kept from one start to the next."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Mapping

HOST = "127.0.0.1"
# Below the range that systems take the ports of outgoing connections from (32768 up).
# In it, a client that keeps trying a stopped server's port may be given that very port
# for its own end, connect to itself and keep the server from starting again.
_RANGE = range(20_000, 32_000)
_TRIES = 500


def free_port() -> int:
    """A TCP port of the loopback interface that nothing listens on now."""
    for port in random.sample(_RANGE, _TRIES):
        if is_free(port):
            return port
    raise OSError(f"no free port between {_RANGE.start} and {_RANGE.stop}")


def is_free(port: int) -> bool:
    """Whether a server could listen on that loopback port now."""
    with socket.socket() as probe:
        # As servers do: connections of the last run that linger do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def choose(names: Iterable[str], before: Mapping[str, int]) -> dict[str, int]:
    """A port for every name: the one from before while it is free, else a new one."""
    chosen: dict[str, int] = {}
    for name in names:
        port = before.get(name)
        while port is None or port in chosen.values() or not is_free(port):
            port = free_port()
        chosen[name] = port
    return chosen
