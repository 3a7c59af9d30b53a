"""Host name look-ups are shared and bounded, and no caller waits longer than it wants."""

import asyncio
import gc
import socket
import threading
from collections.abc import Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from streamsvc.providers.http.names import MOST_LOOKUPS, Names

FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))]


class Resolver:
    """Stands in for the resolver of the C library, and answers on demand.

    Attributes:
        asked: how many look-ups have begun.
        answers: what each gets, an error where that is one.
        may_answer: set when they may.
    """

    def __init__(self) -> None:
        self.asked = 0
        self.answers: list[Any] = [FOUND]
        self.may_answer = threading.Event()

    def getaddrinfo(self, _host: bytes, *_args: object, flags: int, **_named: object) -> Any:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "not an address")
        self.asked += 1
        answer = self.answers[min(self.asked, len(self.answers)) - 1]
        self.may_answer.wait(30)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    it = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", it.getaddrinfo)
    yield it
    it.may_answer.set()


def names(patience_seconds: float = 60) -> Names:
    return Names(b"host.test", 80, patience_seconds=patience_seconds)


async def until_asked(resolver: Resolver, times: int) -> None:
    with anyio.fail_after(10):
        while resolver.asked < times:
            await anyio.lowlevel.checkpoint()


async def test_callers_share_a_look_up(resolver: Resolver) -> None:
    host = names()
    found: list[Any] = []

    async def look_up() -> None:
        found.append(await host.look_up())

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(look_up)
            await until_asked(resolver, 1)
            resolver.may_answer.set()
    assert found == [FOUND] * 20
    assert resolver.asked == 1
    await host.look_up()
    assert resolver.asked == 2  # results are not cached


async def test_caller_that_leaves_does_not_affect_the_others(resolver: Resolver) -> None:
    host = names()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(host.look_up)
        await until_asked(resolver, 1)
        tasks.cancel_scope.cancel()
    resolver.may_answer.set()
    assert await host.look_up() == FOUND
    assert resolver.asked == 1


@pytest.mark.promise("upstream:bounded")
async def test_hanging_look_up_is_repeated_a_few_times(resolver: Resolver) -> None:
    host = names(patience_seconds=0.01)
    for number in range(1, 3 * MOST_LOOKUPS):
        with anyio.move_on_after(0.02):
            await host.look_up()
        assert resolver.asked == min(number, MOST_LOOKUPS)
    resolver.may_answer.set()
    with anyio.fail_after(10):
        assert await host.look_up() == FOUND
        while host._running:
            await anyio.lowlevel.checkpoint()
        assert await host.look_up() == FOUND


@pytest.mark.parametrize("error", [socket.gaierror(-2, "no"), UnicodeError("label too long")])
async def test_failed_look_up_fails_for_every_caller(resolver: Resolver, error: Exception) -> None:
    resolver.answers = [error, FOUND]
    resolver.may_answer.set()
    host = names()
    with pytest.raises(type(error)):
        await host.look_up()
    assert await host.look_up() == FOUND


async def test_look_up_fails_without_a_thread(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    host = names()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(OSError, match="thread"):
            await host.look_up()
    resolver.may_answer.set()
    assert await host.look_up() == FOUND


@pytest.mark.parametrize("address", [b"127.0.0.1", b"::1"])
async def test_address_needs_no_thread(address: bytes) -> None:
    host = Names(address, 443, patience_seconds=1)
    before = threading.active_count()
    ((_, kind, _, _, found), *_) = await host.look_up()
    assert (kind, found[:2]) == (socket.SOCK_STREAM, (address.decode(), 443))
    assert threading.active_count() == before


def test_late_result_is_dropped_after_the_loop_closed(resolver: Resolver) -> None:
    async def leave() -> None:
        with anyio.move_on_after(0.01):
            await names().look_up()

    asyncio.run(leave())
    resolver.may_answer.set()
    for thread in threading.enumerate():
        if thread.name == "streamsvc name look-up":
            assert thread.daemon  # the process does not wait for it
            thread.join(10)
    gc.collect()  # an exception that is never retrieved would be a warning
