"""A cheap fake upstream: OpenAI's wire format, by the plan in the request.

Run as `python -m bench.upstream PORT`. There is no task for a stream: one timer ticks every
millisecond for all of them, and what a token is made of is encoded beforehand. It counts what it
sends, and sees connections close:

* `GET /control/stats`: tokens sent, requests, open streams; how late tokens were sent (the upstream
  was too slow), and how many had to wait for the reader (the target was).
* `GET /control/closed`: of each stream with a key that was closed by the peer: when, how much it had
  sent, and when it sent the latest tokens, in µs of the monotonic clock.
* `GET /control/reset`: forget all that.
"""

import asyncio
import json
import math
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import cast

import uvloop
from typing_extensions import override

from bench.plan import Plan
from bench.stamps import FORMAT, WIDTH, now_us

_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
_CHUNK = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1795342001,'
    b'"model":"bench","choices":[{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}],'
    b'"usage":null}\n\n'
)
_USAGE = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1795342001,'
    b'"model":"bench","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":%d,'
    b'"total_tokens":%d}}\n\n'
)


def _http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_ROLE = _http_chunk(_CHUNK % (b'{"role":"assistant","content":""}', b"null"))
_TEXT = _CHUNK % (b'{"content":"%b"}' % (b"x" * WIDTH), b"null")
# With a place for the two times of the stamp; the length of a token is always the same.
_TOKEN = _http_chunk(_TEXT).replace(b"x" * WIDTH, FORMAT)
_FINISH = _http_chunk(_CHUNK % (b"{}", b'"stop"'))
_DONE = _http_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"

_BURST_TOKENS = 64
"""How many tokens one write of an unpaced stream has."""

_STAMPS_KEPT = 64


@dataclass
class Stats:
    """The counts of the upstream since the last reset."""

    requests: int = 0
    sent: int = 0
    open: int = 0
    late_max_ms: float = 0.0
    late_sum_ms: float = 0.0
    blocked: int = 0


@dataclass(frozen=True)
class Closed:
    """A stream that the peer closed."""

    key: int
    closed_us: int
    sent: int
    latest_us: list[int]


class Wheel:
    """One timer for all streams: milliseconds, and the streams that have something to do in each."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._slots: dict[int, list[Stream]] = {}
        self._next = 0
        self._runs = False

    def add(self, stream: "Stream", due: float) -> None:
        """Schedule the next step of *stream* at *due*, in seconds of the monotonic clock."""
        slot = max(math.ceil(due * 1000), self._next)
        self._slots.setdefault(slot, []).append(stream)
        if not self._runs:
            self._runs = True
            self._next = min(slot, int(time.monotonic() * 1000))
            self._loop.call_later(0.001, self._tick)

    def _tick(self) -> None:
        until = int(time.monotonic() * 1000)
        for slot in range(self._next, until + 1):
            # Streams add themselves again, and never to a slot that is over.
            self._next = slot + 1
            for stream in self._slots.pop(slot, ()):
                stream.step()
        self._runs = bool(self._slots)
        if self._runs:
            self._loop.call_later(0.001, self._tick)


class Stream:
    """A running answer."""

    __slots__ = ("_closes", "_connection", "_due", "_gap", "_received_us", "_usage", "plan", "sent", "stamps")  # fmt: skip

    def __init__(self, connection: "Connection", plan: Plan, *, usage: bool, closes: bool) -> None:
        self.plan = plan
        self.sent = 0
        self.stamps: deque[int] = deque(maxlen=_STAMPS_KEPT)
        self._connection = connection
        self._usage = usage
        self._closes = closes
        self._received_us = now_us()
        self._gap = 1 / plan.per_second if plan.per_second else 0.0
        self._due = time.monotonic() + plan.first_ms / 1000

    def begin(self) -> None:
        self._connection.write(_HEAD + _ROLE)
        if self.plan.first_ms:
            self._connection.wheel.add(self, self._due)
        else:
            self.step()

    def step(self) -> None:
        """Send what is due: a token of a paced stream, or as many as the socket takes."""
        if self._connection.stream is not self:
            return
        if self._gap:
            self._send_one()
        else:
            self._send_burst()

    def _send_one(self) -> None:
        stats = self._connection.stats
        if self._connection.is_blocked:
            stats.blocked += 1
            self._due = time.monotonic() + self._gap
            self._connection.wheel.add(self, self._due)
            return
        late_ms = (time.monotonic() - self._due) * 1000
        stats.late_sum_ms += late_ms
        stats.late_max_ms = max(stats.late_max_ms, late_ms)
        self._write(1)
        if self.sent == self.plan.tokens:
            self._end()
        else:
            self._due += self._gap
            self._connection.wheel.add(self, self._due)

    def _send_burst(self) -> None:
        if (
            not self._connection.is_blocked
        ):  # otherwise it continues when the connection is writable
            self._write(min(_BURST_TOKENS, self.plan.tokens - self.sent))
            if self.sent == self.plan.tokens:
                self._end()
            else:
                self._connection.loop.call_soon(self.step)

    def _write(self, tokens: int) -> None:
        at = now_us()
        if self.plan.key is not None:
            self.stamps.extend([at] * tokens)
        self.sent += tokens
        self._connection.stats.sent += tokens
        self._connection.write((_TOKEN % (at, self._received_us)) * tokens)

    def _end(self) -> None:
        if self.plan.is_held:
            return
        tokens = self.plan.tokens
        usage = _http_chunk(_USAGE % (tokens, tokens + 1)) if self._usage else b""
        self._connection.write(_FINISH + usage + _DONE)
        self._connection.finish(closes=self._closes)


class Connection(asyncio.Protocol):
    """A connection, with one request after the other."""

    def __init__(self, wheel: Wheel, stats: Stats, closed: list[Closed]) -> None:
        self.loop = asyncio.get_running_loop()
        self.wheel = wheel
        self.stats = stats
        self.stream: Stream | None = None
        self.is_blocked = False
        self._closed = closed
        self._transport: asyncio.Transport | None = None
        self._buffer = b""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}  # fmt: skip
        length = int(fields.get("content-length", "0"))
        if len(rest) >= length:
            self._buffer = rest[length:]
            closes = fields.get("connection", "").lower() == "close"
            self._answer(lines[0].split(" ")[1], rest[:length].decode(), closes=closes)

    def _answer(self, path: str, body: str, *, closes: bool) -> None:
        plan = Plan.find(body)
        if path.endswith("/chat/completions") and plan is not None:
            self.stats.requests += 1
            self.stats.open += 1
            self.stream = Stream(self, plan, usage="include_usage" in body, closes=closes)
            self.stream.begin()
            return
        answer: object = {}
        match path:
            case "/control/stats":
                answer = asdict(self.stats)
            case "/control/closed":
                answer = [asdict(one) for one in self._closed]
            case "/control/reset":
                self._closed.clear()
                self.stats.__init__(open=self.stats.open)  # type: ignore[misc]
            case _:
                pass
        data = json.dumps(answer).encode()
        self.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data))
        if closes and self._transport:
            self._transport.close()

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def finish(self, *, closes: bool) -> None:
        """End the running stream; the connection can be reused."""
        self.stream = None
        self.stats.open -= 1
        if closes and self._transport is not None:
            self._transport.close()

    @override
    def pause_writing(self) -> None:
        self.is_blocked = True

    @override
    def resume_writing(self) -> None:
        self.is_blocked = False
        if self.stream is not None and not self.stream.plan.per_second:
            self.stream.step()

    @override
    def eof_received(self) -> None:
        self._lost()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._lost()
        self._transport = None

    def _lost(self) -> None:
        stream, self.stream = self.stream, None
        if stream is None:
            return
        self.stats.open -= 1
        if stream.plan.key is not None:
            closed = Closed(stream.plan.key, now_us(), stream.sent, list(stream.stamps))
            self._closed.append(closed)


async def serve(port: int) -> None:
    """Serve on a port of the loopback until the process ends."""
    loop = asyncio.get_running_loop()
    wheel, stats = Wheel(loop), Stats()
    closed: list[Closed] = []
    server = await loop.create_server(
        lambda: Connection(wheel, stats, closed), "127.0.0.1", port, backlog=4096
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
