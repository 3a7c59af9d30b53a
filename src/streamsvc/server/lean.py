"""What uvicorn makes for each connection in advance, made here when it is needed, which is rare.

An `asyncio.Event` and a `deque` take 0.8 kB each, even if nobody waits and nothing is in them (CPython 3.11). A parser
and its callbacks take 0.9 kB (httptools 0.9.0), and are needed while a request arrives.
"""

import asyncio
from typing import TypeVar

import httptools
from typing_extensions import override
from uvicorn.protocols.http.flow_control import FlowControl

T = TypeVar("T")


class LeanEvent(asyncio.Event):
    """An event that is small as long as nobody has waited for it."""

    __slots__ = ("_event", "_is_set")

    def __init__(self, *, is_set: bool = False) -> None:
        # Not the base class's: it makes the queue of those that wait.
        self._is_set = is_set
        self._event: asyncio.Event | None = None

    @override
    def is_set(self) -> bool:
        return self._is_set

    @override
    def set(self) -> None:
        self._is_set = True
        if self._event is not None:
            self._event.set()

    @override
    def clear(self) -> None:
        self._is_set = False
        if self._event is not None:
            self._event.clear()

    @override
    async def wait(self) -> bool:  # type: ignore[override]  # typeshed: Literal[True]
        if not self._is_set:
            if self._event is None:
                self._event = asyncio.Event()
            await self._event.wait()
        return True


class LeanFlow(FlowControl):
    """uvicorn's flow control with a lean event."""

    def __init__(self, transport: asyncio.Transport) -> None:
        # Not the base class's: it makes an `asyncio.Event`.
        self._transport = transport
        self.read_paused = False
        self.write_paused = False
        self._is_writable_event = LeanEvent(is_set=True)


class LeanQueue(list[T]):
    """A queue in which a few things wait, with the methods of a `deque` that are used."""

    __slots__ = ()

    def appendleft(self, thing: T) -> None:
        """Append to the left."""
        self.insert(0, thing)

    def popleft(self) -> T:
        """Take from the left."""
        return self.pop(0)


def new_parser(protocol: asyncio.Protocol) -> httptools.HttpRequestParser:
    """Return a parser as uvicorn makes it, which costs 0.5 µs."""
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser
