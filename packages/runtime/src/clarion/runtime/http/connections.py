"""libcurl's connections to one origin, on the event loop."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable

import pycurl

Finished = Callable[[pycurl.Curl, int], None]
"""Called with a handle that is done and libcurl's error number, 0 for none."""

_DEAD = select.POLLIN | select.POLLHUP | select.POLLERR


class Connections:
    """One CurlMulti: it says what it waits for, and the loop calls it back."""

    def __init__(self, most: int, streams: int, finished: Finished) -> None:
        self._loop = asyncio.get_running_loop()
        self._finished = finished
        self._running: set[pycurl.Curl] = set()
        self._watched: dict[int, int] = {}
        self._sockets: set[int] = set()
        self._looked = False
        self._timer: asyncio.Handle | None = None
        self._retired = False
        self._closed = False
        multi = self._multi = pycurl.CurlMulti()
        multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, most)
        multi.setopt(pycurl.M_MAXCONNECTS, most)
        multi.setopt(pycurl.M_MAX_CONCURRENT_STREAMS, streams)
        multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)

    def start(self, easy: pycurl.Curl) -> None:
        """Runs the request of a handle."""
        self._running.add(easy)
        self._multi.add_handle(easy)

    def opened(self, fd: int) -> None:
        """Takes note of a new connection's socket."""
        self._sockets.add(fd)

    def are_stale(self) -> bool:
        """Whether a connection that nobody uses has something to say: its end, mostly.

        libcurl would send the next request on it, and nobody could tell any more
        whether that was read. It costs a system call for all requests that are started
        until libcurl acts on them, and none while all connections are in use.
        """
        if self._looked:
            return False
        self._looked = True
        idle = self._sockets - self._watched.keys()
        if not idle:
            return False
        poll = select.poll()
        for fd in idle:
            poll.register(fd, select.POLLIN)
        stale = False
        for fd, events in poll.poll(0):
            if events & select.POLLNVAL:
                self._sockets.discard(fd)  # closed by libcurl meanwhile
            elif events & _DEAD:
                stale = True
        return stale

    def retire(self) -> None:
        """Finishes what runs and closes then; nothing may be started any more."""
        self._retired = True
        if not self._running:
            self.close()

    def drop(self, easy: pycurl.Curl) -> None:
        """Ends the request of a handle at once."""
        self._running.discard(easy)
        self._multi.remove_handle(easy)

    def close(self) -> None:
        """Closes all connections."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for fd in list(self._watched):
            self._watch(pycurl.POLL_REMOVE, fd, None, None)
        self._multi.close()

    def _watch(self, what: int, fd: int, _multi: object, _data: object) -> None:
        """libcurl says what it waits for on a socket."""
        loop, before = self._loop, self._watched.get(fd, 0)
        now = 0 if what == pycurl.POLL_REMOVE or self._closed else what
        if now & pycurl.POLL_IN and not before & pycurl.POLL_IN:
            loop.add_reader(fd, self._act, fd, pycurl.CSELECT_IN)
        elif before & pycurl.POLL_IN and not now & pycurl.POLL_IN:
            loop.remove_reader(fd)
        if now & pycurl.POLL_OUT and not before & pycurl.POLL_OUT:
            loop.add_writer(fd, self._act, fd, pycurl.CSELECT_OUT)
        elif before & pycurl.POLL_OUT and not now & pycurl.POLL_OUT:
            loop.remove_writer(fd)
        if now:
            self._watched[fd] = now
        else:
            self._watched.pop(fd, None)

    def _set_timer(self, milliseconds: int) -> None:
        """libcurl says when it wants to be called; -1 is never."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._closed:
            return
        if milliseconds == 0:
            self._timer = self._loop.call_soon(self._time_out)
        elif milliseconds > 0:
            self._timer = self._loop.call_later(milliseconds / 1000, self._time_out)

    def _time_out(self) -> None:
        self._timer = None
        self._act(pycurl.SOCKET_TIMEOUT, 0)

    def _act(self, fd: int, event: int) -> None:
        if self._closed:
            return
        self._looked = False
        _, running = self._multi.socket_action(fd, event)
        if running < len(self._running):
            self._collect()
        if self._retired and not self._running:
            self.close()

    def _collect(self) -> None:
        queued = 1
        while queued:
            queued, good, bad = self._multi.info_read()
            for easy in good:
                self.drop(easy)
                self._finished(easy, 0)
            for easy, number, _text in bad:
                self.drop(easy)
                self._finished(easy, number)


def end_with_timeout(fd: int, milliseconds: int) -> None:
    """Makes TCP give a connection up when what was sent is not acknowledged in time.

    Otherwise a connection to a host that is gone stays in use until TCP gives up by
    itself after a quarter of an hour, and every request on it runs out of time.
    """
    if not hasattr(socket, "TCP_USER_TIMEOUT"):
        return
    connection = socket.socket(fileno=fd)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    finally:
        connection.detach()
