"""The work that one token and one request are, counted and not timed: the same on every machine and every day.

Upstream, service and client share one event loop, and go in step: a token is sent when the one before
it has arrived, so that each is one wake-up all the way, and nothing piles up by chance. What belongs
to a stream, and not to a token, cancels out between a long answer and a short one. The upstream and
the client are asyncio protocols without a call into any library, so what runs in files of libraries
is the service's work.
"""

import asyncio
import gc
import sys
from asyncio import events, selector_events
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, cast

import pytest
from typing_extensions import override

from conftest import Serve
from streamsvc.config.provider_settings import OpenAISettings
from streamsvc.config.settings import Settings, StreamSettings

SHORT, LONG = 50, 250

MOST_CALLS = 20.0
"""Python calls for a token, resumed coroutines included, outside of the standard library."""

MOST_HANDLES = 3.1
"""Callbacks of the event loop; two of them are the upstream's and the client's own."""

MOST_WRITES = 2.05
"""`send` on a socket; one of them is the upstream's own."""

MOST_BLOCKS = 1.5
"""Blocks of memory that a token leaves behind: its text, and a place in a list now and then."""

MOST_REQUEST_CALLS = 860
"""Python calls for an answer of one token, on a new connection, outside of the standard library."""

MOST_REQUEST_HANDLES = 41
"""Callbacks of the event loop for it; about ten are the upstream's and the client's own."""

MOST_REQUEST_WRITES = 10
"""`send` on a socket for it; two or three are the upstream's own."""

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
TOKEN = b'data: {"model":"m","choices":[{"index":0,"delta":{"content":"@word "}}]}\n\n'
END = (
    b'data: {"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\ndata: [DONE]\n\n'
)


class _Peer(asyncio.Protocol):
    transport: asyncio.Transport

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)


class _Upstream(_Peer):
    """Sends a chunk when asked to."""

    asked: bytes = b""

    @override
    def data_received(self, data: bytes) -> None:
        self.asked += data
        if self.asked.endswith(b"}"):
            self.asked = b""
            self.transport.write(HEAD)
            self.send(TOKEN)

    def send(self, data: bytes) -> None:
        self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))


class _Client(_Peer):
    """Tells the upstream to send the next token when one has come."""

    def __init__(self, upstreams: list[_Upstream], tokens: int) -> None:
        self.tokens = tokens
        self.came = 0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._upstreams = upstreams

    @override
    def data_received(self, data: bytes) -> None:
        if not (came := data.count(b"@")):
            return
        self.came += came
        if self.came < self.tokens:
            self._upstreams[-1].send(TOKEN)
        else:
            self._upstreams[-1].send(END)
            self._upstreams[-1].transport.write(b"0\r\n\r\n")

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.over.set_result(None)


@contextmanager
def _counting(counts: Counter[str]) -> Iterator[None]:
    """Count calls, callbacks and writes, by name."""
    stdlib = str(Path(asyncio.__file__).parents[1])
    ours = str(Path(__file__))
    transport: type[asyncio.Transport] = vars(selector_events)["_SelectorSocketTransport"]
    run, send = events.Handle._run.__code__, transport.write.__code__

    def count(frame: FrameType, event: str, _arg: Any) -> None:
        if event != "call":
            return
        code = frame.f_code
        if code is run:
            counts["handles"] += 1
        elif code is send:
            counts["writes"] += 1
        name = code.co_filename
        if name != ours and (not name.startswith(stdlib) or "site-packages" in name):
            counts["calls"] += 1
            counts[f"{'/'.join(Path(name).parts[-2:])}:{code.co_qualname}"] += 1

    gc.disable()
    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(None)
        gc.enable()


@asynccontextmanager
async def _serving(serve: Serve) -> AsyncIterator[tuple[int, list[_Upstream]]]:
    """Yield the port of a service, and its upstreams."""
    upstreams: list[_Upstream] = []

    def upstream() -> _Upstream:
        upstreams.append(_Upstream())
        return upstreams[-1]

    listener = await asyncio.get_running_loop().create_server(upstream, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    settings = Settings(
        provider="openai",
        providers={
            "openai": OpenAISettings(
                model="m", api_key_env="", base_url=f"http://127.0.0.1:{port}/v1"
            )
        },
        stream=StreamSettings(ping_seconds=60),
    )
    async with listener:
        service = await serve(settings)
        yield service.port, upstreams
        for one in upstreams:
            one.transport.abort()


@pytest.mark.parametrize("path", ["/v1/generations", "/v1/chat/completions"])
async def test_a_token_is_so_much_work_and_no_more(serve: Serve, path: str) -> None:
    if sys.getprofile() is not None:
        pytest.skip("somebody else profiles")
    async with _serving(serve) as (port, upstreams):
        counted: dict[int, Counter[str]] = {}
        blocks: dict[int, int] = {}
        for tokens in (SHORT, SHORT, LONG):  # the first fills caches
            counts: Counter[str] = Counter()
            gc.collect()  # empties the lists of freed floats and tuples, too, whose length is chance
            before = sys.getallocatedblocks()
            with _counting(counts):
                client = await _stream(port, path, upstreams, tokens)
            blocks[tokens] = sys.getallocatedblocks() - before
            assert client.came == tokens
            counted[tokens] = counts
    a_token = {
        name: (counted[LONG][name] - counted[SHORT][name]) / (LONG - SHORT)
        for name in counted[LONG]
    }
    kept = (blocks[LONG] - blocks[SHORT]) / (LONG - SHORT)
    calls, handles, writes = (a_token[name] for name in ("calls", "handles", "writes"))
    print(f"\n{path}: {calls:.2f} calls, {handles:.2f} handles, {writes:.2f} writes,", end=" ")
    print(f"{kept:.2f} blocks kept")
    for name, times in sorted(a_token.items(), key=lambda it: -it[1])[:30]:
        print(f"  {times:6.2f}  {name}")
    assert calls <= MOST_CALLS
    assert handles <= MOST_HANDLES
    assert writes <= MOST_WRITES
    assert kept <= MOST_BLOCKS


@pytest.mark.parametrize("path", ["/v1/generations", "/v1/chat/completions"])
async def test_a_request_is_so_much_work_and_no_more(serve: Serve, path: str) -> None:
    if sys.getprofile() is not None:
        pytest.skip("somebody else profiles")
    counts: Counter[str] = Counter()
    async with _serving(serve) as (port, upstreams):
        for _ in range(3):  # the last one counts; those before fill caches
            counts.clear()
            with _counting(counts):
                await _stream(port, path, upstreams, 1)
    calls, handles, writes = (counts[name] for name in ("calls", "handles", "writes"))
    print(f"\n{path}: {calls} calls, {handles} handles, {writes} writes")
    for name, times in counts.most_common(40):
        print(f"  {times:4}  {name}")
    assert calls <= MOST_REQUEST_CALLS
    assert handles <= MOST_REQUEST_HANDLES
    assert writes <= MOST_REQUEST_WRITES


async def test_an_answer_leaves_nothing_of_ours_to_the_collector(serve: Serve) -> None:
    """Cycles cost a collection, in which nothing is sent; asyncio's own transports leave some."""
    left: list[str] = []
    async with _serving(serve) as (port, upstreams):
        for _ in range(2):  # the first imports and fills caches
            gc.collect()
            gc.set_debug(gc.DEBUG_SAVEALL)
            try:
                await _stream(port, "/v1/generations", upstreams, 1)
                gc.collect()
            finally:
                gc.set_debug(0)
            left = [type(it).__qualname__ for it in gc.garbage if _is_ours(it)]
            gc.garbage.clear()
    assert left == []


def _is_ours(it: object) -> bool:
    return type(it).__module__.startswith("streamsvc.")


async def _stream(port: int, path: str, upstreams: list[_Upstream], tokens: int) -> _Client:
    body = b'{"prompt":"Hi"}'
    if "chat" in path:
        body = b'{"model":"openai","stream":true,"messages":[{"role":"user","content":"Hi"}]}'
    _, client = await asyncio.get_running_loop().create_connection(
        lambda: _Client(upstreams, tokens), "127.0.0.1", port
    )
    client.transport.write(
        b"POST %b HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (path.encode(), len(body), body)
    )
    await client.over
    return client
