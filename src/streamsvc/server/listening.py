"""The listening sockets: bound before the service starts; they accept up to a hundred connections per iteration.

Connections are accepted here and not by uvloop, for two reasons (uvloop 0.23, libuv 1.52). libuv accepts one
connection per iteration of the event loop, so when many clients reconnect at once, they wait for as many
iterations. And uvloop closes its listener for good when no descriptor is left and libuv cannot reopen its reserve
descriptor: the process would keep running but be unreachable.
"""

import asyncio
import errno
import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from streamsvc.errors import ConfigError
from streamsvc.server.addresses import AddressLimit, Lease
from streamsvc.server.pending import Room
from streamsvc.server.shares import Share

BACKLOG = 2048
"""How many connections the kernel queues until they are accepted, at most `net.core.somaxconn` (listen(2))."""

ACCEPTS_A_TURN = 100
"""How many connections are accepted in one iteration of the event loop: a few milliseconds of work."""

YIELD_SECONDS = 0.002
"""How long a worker that is ahead of its share leaves new connections to the others."""

ACCEPTS_AHEAD = 16
"""How many connections it then accepts in one iteration if they still wait: the others are busy."""

_PAUSE_SECONDS = 0.05
"""How long accepting pauses when no descriptor is left."""

_DROPPED_AT_ONCE = 16
"""How many pending connections are closed in that case."""

_NOT_HERE = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""Errors of an address that this machine does not have, such as ::1 for `localhost` where IPv6 is off."""

_LAST_PORT = 65_535

_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def bind(host: str, port: int) -> list[socket.socket]:
    """Return a listening socket for each address of *host*.

    Args:
        host: a name or an address.
        port: 0 chooses a free one, the same for all addresses.

    Raises:
        ConfigError: the host is unknown, or the port cannot be used; the text names the setting.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as exc:
        raise ConfigError(f"server.host: {host!r} is not a known host name or address.") from exc
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    for family, *_, address in dict.fromkeys(found):
        taken = sockets[0].getsockname()[1] if sockets else port
        try:
            sockets.append(_listen(family, (address[0], taken, *address[2:])))
        except OSError as exc:
            failure = exc
            if exc.errno not in _NOT_HERE:
                break
    if failure is not None and (not sockets or failure.errno not in _NOT_HERE):
        for opened in sockets:
            opened.close()
        raise ConfigError(_reason(failure, host, port)) from failure
    return sockets


def _listen(family: int, address: tuple[object, ...]) -> socket.socket:
    # IPPROTO_TCP and not 0: asyncio sets TCP_NODELAY only on sockets whose `proto` says TCP.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _reason(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"server.port: {port} on {host} is in use by another process; "
                f"stop it, or choose another port, as in --port {_another(port)}, "
                "and write it into the page that calls the service (docs/quickstart.md, Other ports)."
            )
        case errno.EACCES | errno.EPERM:
            return f"server.port: {port} needs privileges; use a port from 1024 on."
        case errno.EADDRNOTAVAIL:
            return f"server.host: {host!r} is not an address of this machine."
        case _:
            return f"server.host, server.port: cannot listen on {host} {port} ({error.strerror})."


def _another(port: int) -> int:
    """Return a port to try in place of one that is in use."""
    return port + 1000 if port + 1000 <= _LAST_PORT else port - 1000


_MOST_SECONDS, _MOST_PROBES, _MOST_MS = 32_767, 127, 2**31 - 1
"""The largest values that Linux accepts for these options (tcp(7))."""


def miss_lost_clients(listener: socket.socket, seconds: float) -> None:
    """Have the kernel close connections whose client does not acknowledge packets for *seconds*.

    A machine that drops off the network sends no FIN. `TCP_USER_TIMEOUT` (tcp(7), Linux) bounds the time for
    written data; keepalive probes find lost clients of silent connections (Linux and macOS). Accepted connections
    inherit both.
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    idle = min(_MOST_SECONDS, max(1, int(seconds / 2)))
    interval = min(_MOST_SECONDS, max(1, int(seconds / 6)))
    options = {
        "TCP_KEEPIDLE": idle,
        "TCP_KEEPALIVE": idle,  # macOS's name for it
        "TCP_KEEPINTVL": interval,
        "TCP_KEEPCNT": min(_MOST_PROBES, max(1, round((seconds - idle) / interval))),
        "TCP_USER_TIMEOUT": min(_MOST_MS, int(seconds * 1000)),
    }
    for name, value in options.items():
        if (option := getattr(socket, name, None)) is not None:
            listener.setsockopt(socket.IPPROTO_TCP, option, value)
    if sys.platform == "linux":  # elsewhere the event loop sets it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Listening:
    """Accepts connections; has the methods of `asyncio.Server` that uvicorn calls.

    One descriptor, of the null device, is kept in reserve: when no other is left, it is closed for a moment, so that
    waiting connections can be accepted and closed. Otherwise their clients would hang until they give up.

    Args:
        sockets: they are already listening, and are closed together with this object.
        protocol: makes the protocol of a connection, which ends the lease with the connection.
        room: decides about each new connection.
        addresses: limits the connections of each address.
        share: compares this worker with the others that accept from the same sockets, if there are any.

    Attributes:
        sockets: as given.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        protocol: Callable[[Lease | None], asyncio.Protocol],
        room: Room,
        addresses: AddressLimit,
        share: Share | None = None,
    ) -> None:
        self.sockets = sockets
        self._protocol = protocol
        self._room = room
        self._addresses = addresses
        self._share = share
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}
        self._reserve: int | None = os.open(os.devnull, os.O_RDONLY)
        self._is_closed = False
        self._is_ahead()  # so that the others count this worker from now on
        for listener in sockets:
            listener.setblocking(False)
            self._resume(listener)

    def close(self) -> None:
        """Accept no more connections; accepted ones stay open."""
        if self._is_closed:
            return
        self._is_closed = True
        for pause in self._pauses.values():
            pause.cancel()
        for listener in self.sockets:
            self._loop.remove_reader(listener.fileno())
            listener.close()
        if self._share is not None:
            self._share.close()
        if self._reserve is not None:
            os.close(self._reserve)

    async def wait_closed(self) -> None:
        """Wait until each accepted connection has its protocol."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _resume(self, listener: socket.socket) -> None:
        self._pauses.pop(listener, None)
        self._loop.add_reader(listener.fileno(), self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTS_A_TURN):
            if self._is_ahead():
                self._pause(listener, YIELD_SECONDS, self._accept_ahead)
                return
            if not self._accept_one(listener):
                return

    def _accept_ahead(self, listener: socket.socket) -> None:
        """Accept some connections that still wait although this worker has left them to the others for a moment."""
        self._resume(listener)
        for _ in range(ACCEPTS_AHEAD):
            if not self._accept_one(listener):
                return

    def _is_ahead(self) -> bool:
        return self._share is not None and self._share.is_ahead(self._room.used(len(self._tasks)))

    def _accept_one(self, listener: socket.socket) -> bool:
        """Accept a connection; return whether to go on in this iteration."""
        try:
            accepted, address = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as exc:
            if exc.errno in _NO_ROOM:
                self._drop_pending(listener)
            return False  # an error of this one connection: accept(2)
        host: str = address[0]
        if self._addresses.refuses(host):
            accepted.close()
            return True
        accepted.setblocking(False)
        return self._take(accepted, host)

    def _take(self, accepted: socket.socket, host: str) -> bool:
        """Give a connection its protocol, or close it; return False if that must wait for the next iteration."""
        if self._room.admit(len(self._tasks)):
            lease = self._addresses.begin(host)
            task = self._loop.create_task(self._hand_over(accepted, lease))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif self._tasks and not self._is_closed:  # one that is arriving may make room
            self._loop.call_soon(self._take, accepted, host)
            return False
        else:
            self._room.refuse()
            accepted.close()
        return True

    async def _hand_over(self, accepted: socket.socket, lease: Lease | None) -> None:
        try:
            await self._loop.connect_accepted_socket(partial(self._protocol, lease), accepted)
        except BaseException as exc:
            if lease is not None:
                lease.end()
            if not isinstance(exc, OSError):
                raise
            accepted.close()  # the client has left

    def _drop_pending(self, listener: socket.socket) -> None:
        """Close the oldest pending connections and stop accepting for a moment: no descriptor is left."""
        if not sum(self._room.make() for _ in range(_DROPPED_AT_ONCE)):
            self._refuse_all(listener)
        self._pause(listener, _PAUSE_SECONDS, self._resume)

    def _pause(
        self, listener: socket.socket, seconds: float, go_on: Callable[[socket.socket], None]
    ) -> None:
        self._loop.remove_reader(listener.fileno())
        self._pauses[listener] = self._loop.call_later(seconds, go_on, listener)

    def _refuse_all(self, listener: socket.socket) -> None:
        """Accept and close all waiting connections, with the descriptor in reserve."""
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None
        with suppress(OSError):  # no more connections, or another thread took the descriptor
            for _ in range(ACCEPTS_A_TURN):
                listener.accept()[0].close()
        with suppress(OSError):  # there may be one next time
            self._reserve = os.open(os.devnull, os.O_RDONLY)
