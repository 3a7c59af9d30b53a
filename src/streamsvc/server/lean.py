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


class LeanEvent:
    """An `asyncio.Event` that is small as long as nobody has waited for it: without its `__dict__` and its queue."""

    __slots__ = ("_event", "_is_set")

    def __init__(self) -> None:
        self._is_set = False
        self._event: asyncio.Event | None = None

    def set(self) -> None:
        """Wake all that wait."""
        self._is_set = True
        if self._event is not None:
            self._event.set()

    def clear(self) -> None:
        """Let those wait that come from now on."""
        self._is_set = False
        if self._event is not None:
            self._event.clear()

    async def wait(self) -> None:
        """Wait until it is set."""
        if not self._is_set:
            if self._event is None:
                self._event = asyncio.Event()
            await self._event.wait()


class LeanFlow(FlowControl):
    """uvicorn's flow control, with an event only if something waits."""

    # The base class has a `__dict__`, which stays empty and is not made.
    __slots__ = ("_is_writable_event", "_transport", "read_paused", "write_paused")

    _is_writable_event: LeanEvent  # type: ignore[assignment]  # has what is used of an `asyncio.Event`

    def __init__(self, transport: asyncio.Transport) -> None:
        # Not the base class's: it makes an `asyncio.Event`.
        self._transport = transport
        self.read_paused = False
        self.write_paused = False

    @override
    async def drain(self) -> None:
        if self.write_paused:
            await self._is_writable_event.wait()

    @override
    def pause_writing(self) -> None:
        if not self.write_paused:
            self._is_writable_event = LeanEvent()
        self.write_paused = True

    @override
    def resume_writing(self) -> None:
        if self.write_paused:
            self.write_paused = False
            self._is_writable_event.set()


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
