"""Requests: valid ones of every operation, and what becomes of them."""

import gzip
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from support.fuzz.values import STRINGS, Values
from support.native import NEVER

PATHS_FOR_PEOPLE = ("/", "/playground/playground.js", "/playground/../../config.toml", "/nowhere")
METHODS = (b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"PURGE")
FIELDS = (
    *("Accept", "Accept-Encoding", "Authorization", "Connection", "Content-Encoding", "Content-Type", "Cookie"),
    *("Expect", "Forwarded", "Idempotency-Key", "If-None-Match", "Last-Event-ID", "Origin", "Range", "Referer"),
    *("Sec-Fetch-Dest", "Sec-Fetch-Site", "Sec-Purpose", "Upgrade", "X-Api-Key", "Api-Key", "X-Forwarded-Host"),
    *("Access-Control-Request-Method", "X-Method-Override", "Content-Location", "Via", "X-Stainless-Lang"),
)  # fmt: skip
FIELD_VALUES = (
    *("text/event-stream", "text/plain", "application/json", "*/*;q=x", "text/plain;q=1,text/event-stream;q=0.1"),
    *("gzip", "identity", "close", "keep-alive", "h2c", "websocket", "100-continue", "null", "http://evil.example"),
    *("http://127.0.0.1", "same-origin", "cross-site", "prefetch", "document", "bytes=0-", "Bearer ", "Basic eDp5"),
    *("__Host-streamsvc=x", "127.0.0.1", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"),
)  # fmt: skip
CARRIERS = (b"Authorization: Bearer ", b"x-api-key: ", b"api-key: ")
FAULTS = (
    *("rate_limit_once", "error_once", "unavailable", "reset", "slow", "auth", "context_length", "prompt_blocked"),
    *("cut_once", "cut", "restart", "stall", "garbage", "content_filter", "tool_whole", "none", "x"),
)  # fmt: skip
SCRIPTS: Sequence[Any] = (
    [{"reasoning": "Hm."}, {"words": "Fine."}],
    [{"words": "One two"}, {"fail": "upstream_cut", "after": 1, "times": 1}],
    [{"call": "get_weather", "arguments": {"city": "Paris"}, "id": "a"}],
    [{"refusal": "No."}, {"finish": "content_filter"}],
    [{"fail": "provider_rate_limited", "retry_after": 0.1}],
    [{"usage": {"input_tokens": 1, "output_tokens": 2}, "words": "x"}],
)
JUNK = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the beginning of TLS
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET http://evil.example/ HTTP/1.1\r\n\r\n",
    b"CONNECT 127.0.0.1:22 HTTP/1.1\r\n\r\n",
    b"\r\n\r\n\r\n",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 400 + b"\r\n",
    b"GET / HTTP/1.1\r\nA: " + b"b" * 140_000 + b"\r\n\r\n",
)


class Request(NamedTuple):
    """A request as bytes.

    Attributes:
        raw: what is sent.
        operation: method and path in the document; empty for no operation, or for one that may not be meant any more.
        is_framed: whether the service can tell where it ends, so that it has to answer.
        is_head: whether the response has no body.
    """

    raw: bytes
    operation: tuple[str, str]
    is_framed: bool = True
    is_head: bool = False


class Known:
    """What the service has invented, the latest of it: ids of generations, and tickets."""

    def __init__(self) -> None:
        self.generations: deque[str] = deque([NEVER], maxlen=64)
        self.tickets: deque[str] = deque(["tkt_x"], maxlen=16)


class Corpus:
    """Makes requests; the same seed makes the same ones.

    Args:
        document: the OpenAPI document.
        source: the randomness.
        known: what the service has invented.
        credentials: values of `Authorization` that are accepted; empty: none is needed.
    """

    def __init__(
        self,
        document: Mapping[str, Any],
        source: random.Random,
        known: Known,
        credentials: Sequence[str] = (),
    ) -> None:
        self._random = source
        self._pick = source.choice
        self._values = Values(source)
        self._known = known
        self._credentials = credentials
        self._operations = [
            (method.upper(), path, operation)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
            for _ in range(_weight(method, path))
        ]
        self._breaks: Sequence[Callable[[bytes, bytes], bytes]] = (
            self._scratch,
            self._cut,
            self._claim_another_length,
            self._misuse_the_head,
            self._misuse_chunks,
            lambda _head, _body: self._pick(JUNK),
        )

    def request(self) -> Request:
        """Return the next request."""
        if self._chance(0.01):
            raw = f"GET {self._pick(PATHS_FOR_PEOPLE)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            return Request(raw, ("", ""))
        method, path, operation = self._pick(self._operations)
        sent = self._pick(METHODS) if self._chance(0.03) else method.encode()
        target = self._target(path, operation)
        body = self._body(operation)
        head, body = self._head(sent, target, operation, body)
        if self._chance(0.12):
            return Request(self._pick(self._breaks)(head, body), ("", ""), is_framed=False)
        meant = (method, path) if sent == method.encode() else ("", "")
        return Request(head + body, meant, is_head=sent == b"HEAD")

    def _target(self, path: str, operation: Mapping[str, Any]) -> bytes:
        name = self._id(path).encode("utf-8", "surrogatepass")
        target = path.replace("{id}", quote(name, safe="/~" if self._chance(0.5) else ""))
        names = [it["name"] for it in operation.get("parameters", ()) if it["in"] == "query"]
        pairs = []
        if path == "/stream-ai" and self._chance(0.9):
            pairs.append(("prompt", "hi"))
        if path == "/v1/stream" and self._chance(0.9):
            pairs.append(("ticket", self._pick(self._known.tickets)))
        pairs += [
            (self._pick((*names, self._pick(STRINGS))), self._parameter())
            for _ in range(self._pick((0, 0, 0, 1, 1, 2, 3)))
        ]
        query = "&".join(f"{_escaped(name)}={_escaped(value)}" for name, value in pairs)
        return (f"{target}?{query}" if query else target).encode()

    def _id(self, path: str) -> str:
        if "{id}" not in path:
            return ""
        if "models" in path:
            return self._pick(("fake", "fake/x", *STRINGS))
        if "chat" in path:
            return self._pick(("chat-1", "chat-1", *STRINGS))
        return self._pick((self._generation(), self._generation(), NEVER, self._pick(STRINGS)))

    def _generation(self) -> str:
        return self._pick(self._known.generations)

    def _parameter(self) -> str:
        cursor = f"{self._generation()}.{self._random.randrange(9)}"
        return self._pick(
            (self._pick(STRINGS), self._pick(("plain", "text", "json", "ui")), cursor)
        )

    def _body(self, operation: Mapping[str, Any]) -> bytes:
        if "requestBody" not in operation:
            return b"" if self._chance(0.95) else self._values.encoded(self._values.value())
        examples = operation["requestBody"]["content"]["application/json"]["examples"]
        example = self._pick([it["value"] for it in examples.values()])
        body = self._values.changed(self._failing(example), self._pick((0, 0, 1, 1, 2, 3, 5)))
        raw = self._values.encoded(body)
        if self._chance(0.85):
            return raw
        changes: Sequence[Callable[[], bytes]] = (
            lambda: b"[" * self._random.randrange(1, 20_000),
            lambda: raw + b" " * self._random.randrange(100_000),
            lambda: gzip.compress(raw, 1),
            lambda: raw.decode("utf-8", "replace").encode("utf-16"),
            lambda: b"",
            *[lambda: self._values.scratched(raw, self._pick((1, 2, 5)))] * 5,
        )
        return self._pick(changes)()

    def _failing(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a body that may also say how the provider answers."""
        match self._random.randrange(12):
            case 0:
                return {**body, "fault": self._pick(FAULTS)}
            case 1:
                return {**body, "script": self._pick(SCRIPTS)}
            case 2:
                return {**body, "grace_seconds": self._random.random(), "stream": True}
            case _:
                return body

    def _head(
        self, method: bytes, target: bytes, operation: Mapping[str, Any], body: bytes
    ) -> tuple[bytes, bytes]:
        version = b"HTTP/1.0" if self._chance(0.02) else b"HTTP/1.1"
        lines = [b"%b %b %b" % (method, target, version), b"Host: " + self._host()]
        if self._chance(0.9) and self._credentials:
            lines.append(self._pick(CARRIERS) + self._pick(self._credentials).encode())
        if "requestBody" in operation and self._chance(0.4):
            lines.append(b"Accept: " + self._pick((b"text/event-stream", b"text/plain", b"*/*")))
        lines += [self._field() for _ in range(self._pick((0, 0, 0, 1, 1, 2, 4)))]
        if body and version == b"HTTP/1.1" and self._chance(0.15):
            lines.append(b"Transfer-Encoding: chunked")
            body = self._chunked(body)
        elif body or self._chance(0.05):
            lines.append(b"Content-Length: %d" % len(body))
        return b"\r\n".join(lines) + b"\r\n\r\n", body

    def _host(self) -> bytes:
        return (
            b"localhost"
            if self._chance(0.98)
            else self._pick((b"", b"evil.example", b"[::1]:80", b"a b", b"%"))
        )

    def _field(self) -> bytes:
        name = self._pick(FIELDS)
        value = self._pick(
            (
                *FIELD_VALUES,
                f"{self._generation()}.{self._random.randrange(9)}",
                self._pick(STRINGS),
            )
        )
        raw = value.encode("utf-8", "surrogatepass").translate(None, b"\r\n\0")
        return name.encode() + b": " + raw

    def _chunked(self, body: bytes) -> bytes:
        pieces = []
        while body:
            size = self._random.randrange(1, len(body) + 1)
            extension = b";x=y" if self._chance(0.1) else b""
            pieces.append(b"%x%b\r\n%b\r\n" % (size, extension, body[:size]))
            body = body[size:]
            if len(pieces) > 20:
                pieces.append(b"%x\r\n%b\r\n" % (len(body), body) if body else b"")
                break
        trailer = b"X-Trailer: x\r\n" if self._chance(0.1) else b""
        return b"".join(pieces) + b"0\r\n" + trailer + b"\r\n"

    def _scratch(self, head: bytes, body: bytes) -> bytes:
        return self._values.scratched(head, self._pick((1, 1, 2, 5))) + body

    def _cut(self, head: bytes, body: bytes) -> bytes:
        raw = head + body
        return raw[: self._random.randrange(len(raw))]

    def _claim_another_length(self, head: bytes, body: bytes) -> bytes:
        wrong = self._pick(
            (
                b"0",
                b"1",
                b"-1",
                b"+5",
                b"0x10",
                b"99999999",
                b"9" * 40,
                b"x",
                b"5, 5",
                b"5\r\nContent-Length: 6",
            )
        )
        return head.removesuffix(b"\r\n") + b"Content-Length: " + wrong + b"\r\n\r\n" + body

    def _misuse_the_head(self, head: bytes, body: bytes) -> bytes:
        line = self._pick((
            *(b"X: a\0b", b"X : a", b" folded", b"X", b": x", b"X: \xff\xfe", b"Host: second"),
            *(b"Transfer-Encoding: chunked\r\nContent-Length: 3", b"Transfer-Encoding: gzip, chunked"),
            *(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", b"Transfer-Encoding: xchunked"),
            *(b"Connection: Upgrade\r\nUpgrade: h2c", b"Expect: 100-continue", b"Content-Length: 1000000"),
        ))  # fmt: skip
        head = head.removesuffix(b"\r\n") + line + b"\r\n\r\n"
        return (head.replace(b"\r\n", b"\n") if self._chance(0.2) else head) + body

    def _misuse_chunks(self, head: bytes, _body: bytes) -> bytes:
        chunks = self._pick((
            *(b"5\r\nabc", b"-1\r\n", b"zz\r\n", b"ffffffffffffffffff\r\n", b"3\r\nabcd\r\n0\r\n\r\n"),
            *(b"1;" + b"x" * 20_000 + b"\r\na\r\n0\r\n\r\n", b"0\r\n" + b"A: b\r\n" * 500 + b"\r\n", b"\r\n"),
        ))  # fmt: skip
        return head.removesuffix(b"\r\n") + b"Transfer-Encoding: chunked\r\n\r\n" + chunks

    def _chance(self, share: float) -> bool:
        return self._random.random() < share


def _weight(method: str, path: str) -> int:
    """Return how often an operation is tried: what costs much less often, what reads a body more often."""
    if path == "/openapi.json":
        return 1
    return 12 if method == "post" and "{id}" not in path else 6


def _escaped(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="")
