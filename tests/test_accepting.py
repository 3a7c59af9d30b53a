"""Connections at the edge: no descriptor, no room, an address that cannot be used."""

import asyncio
import errno
import os
import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from typing_extensions import override

from streamsvc.errors import ConfigError
from streamsvc.server import descriptors, listening
from streamsvc.server.addresses import ANY
from streamsvc.server.listening import Listening, bind
from streamsvc.server.pending import PendingConnections, Room

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="descriptors are limited as on Linux"
)


@contextmanager
def limited_descriptors() -> Iterator[None]:
    """Let this process open no more descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as held:
        free = os.dup(0)
        held.callback(os.close, free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def connected(listener: socket.socket, count: int) -> Iterator[list[socket.socket]]:
    """Open connections that wait to be accepted."""
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket()) for _ in range(count)]
        for client in clients:
            client.connect(listener.getsockname())
            client.setblocking(False)
        yield clients


class Kept(asyncio.Protocol):
    """Says that it is accepted, and counts itself among the open connections."""

    def __init__(self, connections: list["Kept"]) -> None:
        self._connections = connections

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._connections.append(self)
        self.transport = transport
        transport.write(b"!")


async def is_closed(client: socket.socket) -> bool:
    """Wait until the server closes a connection without a word."""
    async with asyncio.timeout(10):
        return await asyncio.get_running_loop().sock_recv(client, 1) == b""


def room_for(connections: list[Kept], most: int) -> Room:
    return Room(connections, most, PendingConnections(10, asyncio.get_running_loop().time))


async def test_without_descriptors_waiting_clients_are_closed_and_later_ones_accepted() -> None:
    connections: list[Kept] = []
    [listener] = bind("127.0.0.1", 0)
    with connected(listener, 3) as [first, second, later]:
        later.close()
        accepting = Listening(
            [listener], lambda _: Kept(connections), room_for(connections, 10), ANY
        )
        with limited_descriptors():
            assert await is_closed(first)
            assert await is_closed(second)
        assert not connections
    with connected(listener, 1) as [client]:
        async with asyncio.timeout(10):
            assert await asyncio.get_running_loop().sock_recv(client, 1) == b"!"
        accepting.close()
        accepting.close()  # the second time it does nothing
        connections[0].transport.abort()


async def test_closing_while_accepting_pauses_ends_the_pause() -> None:
    [listener] = bind("127.0.0.1", 0)
    with connected(listener, 1) as [client]:
        accepting = Listening([listener], lambda _: asyncio.Protocol(), room_for([], 10), ANY)
        with limited_descriptors():
            assert await is_closed(client)
            accepting.close()
        await accepting.wait_closed()
        assert listener.fileno() == -1


async def test_of_two_arriving_clients_one_gets_the_last_place() -> None:
    connections: list[Kept] = []
    [listener] = bind("127.0.0.1", 0)
    with connected(listener, 2) as [_, second]:
        accepting = Listening(
            [listener], lambda _: Kept(connections), room_for(connections, 1), ANY
        )
        assert await is_closed(second)
        accepting.close()
        await accepting.wait_closed()
        assert len(connections) == 1
        connections[0].transport.abort()


async def test_a_client_that_leaves_while_it_arrives_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def left(*_: object) -> None:
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    monkeypatch.setattr(asyncio.get_running_loop(), "connect_accepted_socket", left)
    [listener] = bind("127.0.0.1", 0)
    with connected(listener, 1) as [client]:
        accepting = Listening([listener], lambda _: asyncio.Protocol(), room_for([], 10), ANY)
        assert await is_closed(client)
        accepting.close()
        await accepting.wait_closed()


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EACCES, r"^server\.port: 80 needs privileges; use a port from 1024 on\.$"),
        (errno.EADDRNOTAVAIL, r"^server\.host: 'h' is not an address of this machine\.$"),
        (errno.ENOBUFS, r"^server\.host, server\.port: cannot listen on h 80 \(No buffer"),
    ],
)
def test_each_failure_to_listen_names_its_setting(
    monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    """And a socket that listens on another address of the host is closed."""
    opened = socket.socket()
    opened.bind(("127.0.0.1", 0))

    def listen(_family: int, address: tuple[object, ...]) -> socket.socket:
        if address[0] == "good" and number != errno.EADDRNOTAVAIL:
            return opened
        raise OSError(number, os.strerror(number))

    stream = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    found = [(*stream, ("good", 80)), (*stream, ("bad", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(listening, "_listen", listen)
    with opened, pytest.raises(ConfigError, match=reason):
        bind("h", 80)
    assert opened.fileno() == -1


def test_the_limit_of_descriptors_is_raised_as_far_as_it_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 20_000))
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.append(pair))
    assert descriptors.raise_limit() == 20_000
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, resource.RLIM_INFINITY))
    assert descriptors.raise_limit() == 1_048_576
    assert limits == [(20_000, 20_000), (1_048_576, resource.RLIM_INFINITY)]


def test_a_limit_that_cannot_be_raised_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int, __: tuple[int, int]) -> None:
        raise OSError(errno.EPERM, "not permitted")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 20_000))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert descriptors.raise_limit() == 1024
