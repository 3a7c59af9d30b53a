"""A model's API on a real socket: it follows a script, and records the requests it gets.

A script is a list of steps for one request; a step is a function of the `Exchange`, so a new
kind of fault is one more small function. The path of a request says which API it speaks.
"""

import json
import re
import socket
import struct
from asyncio import StreamReader, StreamWriter, start_server
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count, repeat
from typing import Any, Literal

import anyio
from anyio.abc import TaskGroup

from streamsvc.config.provider_settings import GeminiSettings, OpenAISettings
from streamsvc.events import Usage
from streamsvc.messages import ToolCall
from support.owned import own_tasks

USAGE = Usage(input_tokens=3, output_tokens=5, reasoning_tokens=2)
DONE = b"data: [DONE]\n\n"
STREAM = b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"


def frame(payload: object, *, end: bytes = b"\n\n") -> bytes:
    """Return one SSE frame with a JSON payload; half an emoji goes out as its JSON escape."""
    data = json.dumps(payload, ensure_ascii=False).encode(errors="backslashreplace")
    return b"data: " + data + end


class OpenAIWire:
    """Chat completions: `POST /v1/chat/completions`."""

    def entry(self, url: str, **fields: Any) -> OpenAISettings:
        return OpenAISettings(**{"model": "gpt-test", "base_url": f"{url}/v1", **fields})

    def token(self, text: str, *, is_thought: bool = False) -> bytes:
        return self.choice({"reasoning_content" if is_thought else "content": text})

    def empty(self) -> bytes:
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, {}, {"content": None}]
        return frame({"choices": []}) + b"".join(map(self.choice, deltas))

    def stamped(self, text: str, reason: str = "stop", usage: Usage | None = None) -> bytes:
        """Return a chunk with text, a finish reason and, if given, a usage."""
        counted = self._usage(usage) if usage else None
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
        return frame({"model": "gpt-test-1", "choices": [choice], "usage": counted})

    def calls(self, *calls: ToolCall, reason: str | None = None) -> bytes:
        """Return a chunk with whole tool calls and, if given, a finish reason."""
        return self.choice({"tool_calls": self._calls(calls)}, finish_reason=reason)

    def reason(self, reason: str = "stop") -> bytes:
        """Return a chunk with nothing but a finish reason."""
        return self.choice({}, finish_reason=reason)

    def counted(self, usage: Usage) -> bytes:
        """Return a chunk with nothing but a usage."""
        return frame({"choices": [], "usage": self._usage(usage)})

    def finish(self, reason: str, usage: Usage) -> bytes:
        return self.reason(reason) + self.counted(usage) + DONE

    def whole(
        self, text: str, usage: Usage = USAGE, *, calls: Sequence[ToolCall] = ()
    ) -> dict[str, Any]:
        """Return the body of an answer that is not streamed."""
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if calls:
            message["tool_calls"] = self._calls(calls)
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {"model": "gpt-test-1", "choices": [choice], "usage": self._usage(usage)}

    def _calls(self, calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
        return [
            {
                "index": index,
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for index, call in enumerate(calls)
        ]

    def _usage(self, usage: Usage) -> dict[str, Any]:
        details = {"reasoning_tokens": usage.reasoning_tokens}
        tokens = {"prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens}
        return {**tokens, "completion_tokens_details": details}

    def choice(self, delta: dict[str, Any], **fields: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": None, **fields}
        return frame({"model": "gpt-test-1", "choices": [choice], "usage": None})


class GeminiWire:
    """Gemini: `POST /v1/models/{model}:streamGenerateContent?alt=sse`; lines end in CRLF."""

    def entry(self, url: str, **fields: Any) -> GeminiSettings:
        return GeminiSettings(**{"model": "gemini-test", "base_url": url, **fields})

    def token(self, text: str, *, is_thought: bool = False) -> bytes:
        part = {"text": text, "thought": True} if is_thought else {"text": text}
        return self.candidate(content={"role": "model", "parts": [part]})

    def empty(self) -> bytes:
        contents: list[dict[str, Any]] = [{}, {"role": "model"}, {"parts": []}]
        return self.token("") + b"".join(self.candidate(content=content) for content in contents)

    def stamped(self, text: str, reason: str = "stop", usage: Usage | None = None) -> bytes:
        """Return a chunk with text, a finish reason and, if given, a usage."""
        beside = self._usage(usage) if usage else {}
        content = {"role": "model", "parts": [{"text": text}]}
        return self.candidate(beside, content=content, finishReason=self._reason(reason))

    def calls(self, *calls: ToolCall, reason: str | None = None) -> bytes:
        """Return a chunk with whole tool calls and, if given, a finish reason."""
        end: dict[str, Any] = {"finishReason": self._reason(reason)} if reason else {}
        return self.candidate(content={"role": "model", "parts": self._calls(calls)}, **end)

    def reason(self, reason: str = "stop") -> bytes:
        """Return a chunk with nothing but a finish reason."""
        return self.candidate(finishReason=self._reason(reason))

    def counted(self, usage: Usage) -> bytes:
        """Return a chunk with nothing but a usage."""
        return frame(self._usage(usage), end=b"\r\n\r\n")

    def finish(self, reason: str, usage: Usage) -> bytes:
        return self.candidate(self._usage(usage), finishReason=self._reason(reason))

    def whole(
        self, text: str, usage: Usage = USAGE, *, calls: Sequence[ToolCall] = ()
    ) -> dict[str, Any]:
        """Return the body of an answer that is not streamed."""
        content = {"role": "model", "parts": [{"text": text}, *self._calls(calls)]}
        candidate = {"index": 0, "content": content, "finishReason": "STOP"}
        counted = self._usage(usage)
        return {"candidates": [candidate], "modelVersion": "gemini-test-1", **counted}

    def _calls(self, calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
        return [
            {
                "functionCall": {
                    **({"id": call.id} if call.id else {}),
                    "name": call.name,
                    "args": json.loads(call.arguments),
                }
            }
            for call in calls
        ]

    def _reason(self, reason: str) -> str:
        reasons = {"length": "MAX_TOKENS", "content_filter": "SAFETY", "tool_calls": "STOP"}
        return reasons.get(reason, reason.upper())

    def _usage(self, usage: Usage) -> dict[str, Any]:
        thoughts = usage.reasoning_tokens or 0
        tokens = {"promptTokenCount": usage.input_tokens, "thoughtsTokenCount": thoughts}
        return {"usageMetadata": {**tokens, "candidatesTokenCount": usage.output_tokens - thoughts}}

    def candidate(self, beside: Mapping[str, Any] | None = None, **fields: Any) -> bytes:
        """Return the frame of one chunk; *beside* are its fields next to the candidates."""
        chunk = {"candidates": [{"index": 0, **fields}], "modelVersion": "gemini-test-1"}
        return frame({**chunk, **(beside or {})}, end=b"\r\n\r\n")


Wire = OpenAIWire | GeminiWire
OPENAI, GEMINI = OpenAIWire(), GeminiWire()


@dataclass(eq=False)
class Call:
    """One request, and how it ended; all times are on the event loop's clock."""

    connection: int  # the number of its TCP connection
    path: str
    headers: Mapping[str, str]
    body: Any
    at: float  # when it was read
    tokens: int = 0  # how many text and reasoning deltas were sent
    token_at: float | None = None  # when the last of them was sent
    closed_at: float | None = None  # when the peer closed
    closed: anyio.Event = field(default_factory=anyio.Event)  # set at that moment
    hung_up: bool = False  # this side closed the connection

    @property
    def wire(self) -> Wire:
        return GEMINI if ":streamGenerateContent" in self.path else OPENAI

    @property
    def model(self) -> str:
        """The requested model."""
        in_path = re.search(r"models/([^:]+):", self.path)
        return in_path[1] if in_path else str(self.body["model"])


@dataclass(eq=False)
class Exchange:
    """One answer while it is sent: the argument of every step of a script."""

    call: Call
    writer: StreamWriter
    tell: Callable[[], None]  # wakes tests that wait for a change
    has_head: bool = False
    is_over: bool = False

    async def head(self) -> None:
        """Send the head of a stream, unless it has been sent."""
        if not self.has_head:
            self.has_head = True
            await self.write(b"HTTP/1.1 200 OK\r\n%b\r\n" % STREAM)

    async def send(self, data: bytes, *, piece_bytes: int = 1 << 30) -> None:
        """Send a part of the stream in pieces, each one chunk and one write."""
        await self.head()
        for at in range(0, len(data), piece_bytes):
            piece = data[at : at + piece_bytes]
            await self.write(b"%x\r\n%b\r\n" % (len(piece), piece))

    async def send_tokens(self, tokens: Iterable[bytes], *, gap_seconds: float = 0.0) -> None:
        """Send tokens, and count them; the gap is the model's pace, not a wait for something."""
        for token in tokens:
            self.call.token_at = anyio.current_time()
            await self.send(token)
            self.call.tokens += 1
            self.tell()
            await anyio.sleep(gap_seconds)

    async def answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """Send a whole answer that is not streamed."""
        self.is_over = True
        fields = {"Content-Length": len(body), "Content-Type": "application/json", **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        await self.write(f"HTTP/1.1 {status} Scripted\r\n{lines}\r\n".encode() + body)

    async def end(self) -> None:
        """Send the tidy end of a stream; the connection stays usable."""
        if not self.is_over:
            await self.head()
            await self.write(b"0\r\n\r\n")

    async def hang_up(self, *, reset: bool = False) -> None:
        """Close the connection after everything sent, or reset it (TCP RST)."""
        self.is_over = self.call.hung_up = True
        if reset:
            raw_socket: socket.socket = self.writer.get_extra_info("socket")
            raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()
        self.writer.close()

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


Step = Callable[[Exchange], Awaitable[object]]
Script = Sequence[Step]
Framing = Literal["length", "chunked", "close"]

HEAD: Step = Exchange.head
EMPTY: Step = lambda to: to.send(to.call.wire.empty())  # noqa: E731  # chunks that carry no token
HOLD: Step = lambda _: anyio.sleep_forever()  # noqa: E731  # as the first step: not even a head
CLOSE: Step = Exchange.hang_up
RESET: Step = lambda to: to.hang_up(reset=True)  # noqa: E731


def text(*deltas: str) -> Step:
    """Send text, one chunk per delta."""
    return lambda to: to.send_tokens(map(to.call.wire.token, deltas))


def reasoning(*deltas: str) -> Step:
    """Send reasoning, one chunk per delta."""
    return lambda to: to.send_tokens(to.call.wire.token(it, is_thought=True) for it in deltas)


def calling(*calls: ToolCall, reason: str | None = None) -> Step:
    """Send whole tool calls in one chunk and, if given, the finish reason in it."""
    return lambda to: to.send(to.call.wire.calls(*calls, reason=reason))


def paced(gap_seconds: float) -> Step:
    """Send tokens at a pace until the peer goes away."""
    words = repeat("word ")
    return lambda to: to.send_tokens(map(to.call.wire.token, words), gap_seconds=gap_seconds)


def finish(reason: str = "stop", usage: Usage = USAGE) -> Step:
    """Send the finish reason, the usage and the end marker of the API."""
    return lambda to: to.send(to.call.wire.finish(reason, usage))


def raw(data: bytes, *, piece_bytes: int = 1 << 30) -> Step:
    """Send bytes of the stream unchanged, whole or in pieces of one size."""
    return lambda to: to.send(data, piece_bytes=piece_bytes)


def body(data: bytes, content_type: str | None, *, framing: Framing = "length") -> Step:
    """Answer 200 with a body of any type, framed by its length, in chunks, or by the connection's end."""

    async def answer(to: Exchange) -> None:
        kind = b"Content-Type: %b\r\n" % content_type.encode() if content_type is not None else b""
        to.has_head = True
        match framing:
            case "length":
                to.is_over = True
                await to.write(
                    b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n" % (kind, len(data))
                )
                await to.write(data)
            case "chunked":
                await to.write(b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n" % kind)
                await to.send(data)
            case "close":
                await to.write(b"HTTP/1.1 200 OK\r\n%bConnection: close\r\n\r\n%b" % (kind, data))
                await to.hang_up()

    return answer


def until(event: anyio.Event) -> Step:
    """Send nothing until an event is set."""
    return lambda _: event.wait()


def status(code: int, body: object = None, headers: Mapping[str, str] | None = None) -> Step:
    """Answer with a status and a JSON body, or with raw bytes, instead of a stream."""
    error = {"error": {"code": code}} if body is None else body
    data = error if isinstance(error, bytes) else json.dumps(error).encode()
    return lambda to: to.answer(code, data, headers or {})


class Upstream:
    """The scripted server, and the requests it got."""

    def __init__(self, tasks: TaskGroup) -> None:
        self.url = ""  # without a path
        self.calls: list[Call] = []  # all requests, in order
        self.choose: Callable[[Call], Script] = lambda _: ()  # set by `script`, or by a test
        self._tasks = tasks
        self._numbers = count(1)
        self._changed = anyio.Event()

    def script(self, *scripts: Script) -> None:
        """Play one script per request from now on; the last one is repeated."""
        left = list(scripts)
        self.choose = lambda _: left.pop(0) if len(left) > 1 else left[0]

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until a condition on the calls holds; the caller sets the time limit."""
        while not holds():
            await self._changed.wait()

    async def call(self, number: int = 0) -> Call:
        """Wait for a request by its number, from 0."""
        await self.until(lambda: len(self.calls) > number)
        return self.calls[number]

    async def accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._tasks.start_soon(self._serve, next(self._numbers), reader, writer)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _serve(self, number: int, reader: StreamReader, writer: StreamWriter) -> None:
        calls: list[Call] = []
        try:
            async with anyio.create_task_group() as tasks:
                async for call in _requests(number, reader):
                    calls.append(call)
                    self.calls.append(call)
                    self._tell()
                    tasks.start_soon(self._play, Exchange(call, writer, self._tell))
                for call in calls:
                    if not call.hung_up:
                        call.closed_at = anyio.current_time()
                        call.closed.set()
                self._tell()
                tasks.cancel_scope.cancel()
        finally:
            writer.transport.abort()
            with anyio.CancelScope(shield=True), suppress(OSError):
                await writer.wait_closed()

    async def _play(self, exchange: Exchange) -> None:
        with suppress(ConnectionError):  # `_serve` records it
            for step in self.choose(exchange.call):
                await step(exchange)
            await exchange.end()


async def _requests(connection: int, reader: StreamReader) -> AsyncIterator[Call]:
    """Read the requests of one connection until it ends."""
    with suppress(EOFError, ConnectionError):
        while True:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            fields = (line.partition(":") for line in lines[1:] if line)
            headers = {name.lower(): value.strip() for name, _, value in fields}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            path = lines[0].split(" ")[1]
            yield Call(connection, path, headers, json.loads(body or b"null"), anyio.current_time())


@asynccontextmanager
async def upstream(*steps: Step, host: str = "127.0.0.1") -> AsyncIterator[Upstream]:
    """Serve on a free port of an address until the context is left; *steps* are the first script."""
    async with own_tasks() as tasks:
        api = Upstream(tasks)
        api.script(steps)
        server = await start_server(api.accept, host, 0)
        try:
            api.url = f"http://{host}:{server.sockets[0].getsockname()[1]}"
            yield api
        finally:
            server.close()
            tasks.cancel_scope.cancel()
