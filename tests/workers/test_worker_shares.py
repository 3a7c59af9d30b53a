"""The shared counts of connections, and the rule by which a worker leaves connections to the others."""

import asyncio
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import anyio
import pytest

from streamsvc.server import listening
from streamsvc.server.addresses import ANY, Lease
from streamsvc.server.listening import Listening, bind
from streamsvc.server.pending import PendingConnections, Room
from streamsvc.server.shares import Shares


@pytest.fixture
def shares() -> Iterator[Shares]:
    """Three seats, none taken."""
    descriptor = Shares.create(3)
    yield Shares(descriptor, 3)
    os.close(descriptor)


def test_a_worker_alone_is_never_ahead(shares: Shares) -> None:
    share = shares.share(1)
    assert [share.is_ahead(count) for count in (0, 1, 100)] == [False] * 3


def test_a_worker_is_ahead_of_the_average_by_one(shares: Shares) -> None:
    share, other = shares.share(0), shares.share(2)
    assert not other.is_ahead(0)
    assert [share.is_ahead(count) for count in (0, 1, 2)] == [False, False, True]
    assert not other.is_ahead(3)
    assert other.is_ahead(4)


def test_with_many_connections_a_sixteenth_is_tolerated(shares: Shares) -> None:
    share, other = shares.share(0), shares.share(1)
    other.is_ahead(1000)
    assert [share.is_ahead(count) for count in (1100, 1133, 1134)] == [False, False, True]


def test_workers_that_do_not_accept_count_for_nothing(shares: Shares) -> None:
    share, other = shares.share(0), shares.share(1)
    other.is_ahead(0)
    assert share.is_ahead(9)
    other.close()
    assert not share.is_ahead(9)
    shares.close(0)
    assert not other.is_ahead(5)


def test_processes_share_the_memory() -> None:
    descriptor = Shares.create(3)
    first, second = Shares(descriptor, 3), Shares(descriptor, 3)
    os.close(descriptor)
    second.share(2).is_ahead(0)
    assert first.share(0).is_ahead(7)


def test_without_memfd_the_memory_is_a_temporary_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    descriptor = Shares.create(2)
    share = Shares(descriptor, 2).share(0)
    os.close(descriptor)
    assert not share.is_ahead(9)


async def test_a_worker_ahead_leaves_connections_and_takes_them_if_nobody_does(
    shares: Shares,
) -> None:
    """The other worker hangs: it has no connection and accepts none."""
    shares.share(1).is_ahead(0)
    made: list[asyncio.Protocol] = []
    accepted = anyio.Event()

    def protocol(_lease: Lease | None) -> asyncio.Protocol:
        made.append(asyncio.Protocol())
        if len(made) == 80:
            accepted.set()
        return made[-1]

    loop = asyncio.get_running_loop()
    room = Room(made, 1000, PendingConnections(10, loop.time))
    accepting = Listening(bind("127.0.0.1", 0), protocol, room, ANY, shares.share(0))
    began = loop.time()
    with ExitStack() as stack, anyio.fail_after(10):
        address = accepting.sockets[0].getsockname()
        for _ in range(80):
            stack.enter_context(socket.create_connection(address))
        await accepted.wait()
        waited = loop.time() - began
    # It left them to the other worker before each batch.
    assert waited >= (80 / listening.ACCEPTS_AHEAD - 1) * listening.YIELD_SECONDS
    accepting.close()
    await accepting.wait_closed()
    assert not shares.share(1).is_ahead(1)  # it no longer counts
