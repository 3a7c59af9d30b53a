"""Looks up the addresses of a host without waiting for other hosts.

An event loop looks up names in a few shared threads: libuv's four, or those of asyncio's executor. One name
server that hangs blocks them all, and the process waits for them when it exits. Here each host has its own few
threads, and they are daemons, which a process does not wait for. The C library does the look-up, as operators
expect: `/etc/hosts`, `nsswitch.conf` and a container's search domains apply. c-ares (aiodns) needs no thread, but
reads only some of these.
"""

import asyncio
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress

AddrInfo = tuple[
    int, int, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
]
"""What `socket.getaddrinfo` returns for an address."""

MOST_LOOKUPS = 4
"""How many look-ups of one host may run at once: if some hang, another may still succeed."""


class Names:
    """Looks up one host. Callers share a recent look-up.

    Args:
        host: a name in ASCII (IDNA), or an address.
        port: returned in the addresses.
        patience_seconds: how long callers wait. A look-up that has run for longer counts as hanging: the next
            caller starts another one, up to `MOST_LOOKUPS`.
    """

    def __init__(self, host: bytes, port: int, *, patience_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._host = host
        self._port = port
        self._patience_seconds = patience_seconds
        self._numeric: Sequence[AddrInfo] = ()  # if the host is an address, which needs no look-up
        with suppress(OSError):
            self._numeric = _look_up(host, port, socket.AI_NUMERICHOST)
        self._latest: asyncio.Future[Sequence[AddrInfo] | Exception] | None = None
        self._began = 0.0
        self._running = 0

    async def look_up(self) -> Sequence[AddrInfo]:
        """Return the addresses, at least one, in the order to try them in (RFC 6724).

        The caller sets the deadline; an abandoned look-up continues in its thread.

        Raises:
            OSError: there is no such host, or no reply.
            UnicodeError: this cannot be a host name.
        """
        if self._numeric:
            return self._numeric
        found = await asyncio.shield(self._join())
        if isinstance(found, Exception):
            raise found
        return found

    def _join(self) -> asyncio.Future[Sequence[AddrInfo] | Exception]:
        """Return a recent look-up that is still running, or start one."""
        now = self._loop.time()
        latest = self._latest
        is_young = now - self._began < self._patience_seconds
        if latest is None or not (is_young or self._running >= MOST_LOOKUPS):
            latest = self._latest = self._loop.create_future()
            self._began = now
            self._begin(latest)
        return latest

    def _begin(self, lookup: asyncio.Future[Sequence[AddrInfo] | Exception]) -> None:
        def run() -> None:
            found: Sequence[AddrInfo] | Exception
            try:
                found = _look_up(self._host, self._port)
            except Exception as exc:  # noqa: BLE001  # raised in the caller
                found = exc
            with suppress(RuntimeError):  # the event loop is closed
                self._loop.call_soon_threadsafe(self._end, lookup, found)

        try:
            threading.Thread(target=run, name="streamsvc name look-up", daemon=True).start()
        except RuntimeError as exc:  # no thread can be started
            self._latest = None
            raise OSError("no thread for a look-up") from exc
        self._running += 1

    def _end(
        self,
        lookup: asyncio.Future[Sequence[AddrInfo] | Exception],
        found: Sequence[AddrInfo] | Exception,
    ) -> None:
        self._running -= 1
        if self._latest is lookup:
            self._latest = None
        lookup.set_result(found)


def _look_up(host: bytes, port: int, flags: int = 0) -> Sequence[AddrInfo]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
