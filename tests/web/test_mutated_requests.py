"""Random requests: each gets a success or a problem, and nothing crashes.

They go straight into the application, because a socket would only slow them down.
"""

import copy
import json
import logging
import random
from collections.abc import Iterator
from typing import Any

import anyio
import msgspec
import pytest
from starlette.types import ASGIApp, Message

from conftest import Serve
from streamsvc.config.settings import GenerationSettings, Settings
from support import contents
from support.fuzz.values import STRINGS, Values
from support.native import CREATE, NEVER
from support.problems import HURRIED, LIMITS

SEEDS = range(20_260, 20_264)
REQUEST_COUNT = 1_250
"""For each seed."""

TURN = {"role": "user", "content": "hi"}
VALID: tuple[dict[str, Any], ...] = (
    {"prompt": "hi"},
    {"prompt": "hi", "system": "Be brief.", "temperature": 1, "max_tokens": 2, "stop": "x"},
    {"messages": [TURN, {"role": "assistant", "content": "ho"}, TURN], "seed": 7, "stop": ["a"]},
    {"prompt": "hi", "metadata": {"a": "b"}, "grace_seconds": 0.5, "provider": "fake"},
    {
        "messages": [TURN, contents.calling(contents.call()), contents.result()],
        "tools": [contents.WEATHER],
        "tool_choice": "auto",
    },
    {
        "messages": [contents.image(contents.data_url(contents.PNG))],
        "response_format": {"type": "json_object"},
        "top_p": 1,
    },
)
ONE = f"{CREATE}/{NEVER}"
TARGETS = (
    *([("POST", CREATE)] * 8),
    *([("GET", "/stream-ai")] * 4),
    *(("GET", f"{ONE}/events"), ("GET", ONE), ("POST", f"{ONE}/stop")),
    *(("GET", f"{CREATE}/%00%FF/events"), ("GET", "/v1/providers"), ("GET", "/healthz")),
)
METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "é")
PARAMETERS = ("prompt", "provider", "fault", "format", "key", "last_event_id", "x")
Request = tuple[str, str, bytes, list[tuple[bytes, bytes]], list[bytes]]


class Mutator:
    """Makes requests that are wrong in up to a few places; the same seed makes the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311  # repeatable, and not a secret
        self._pick = self._random.choice
        self._values = Values(self._random)

    def request(self) -> Request:
        """Return a method, path, query, headers and a body in two pieces."""
        method, path = self._pick(TARGETS)
        if self._chance(0.1):
            method = self._pick(METHODS)
        body = b"" if method == "GET" else self.body()
        cut = self._random.randrange(len(body) + 1)
        query = self.query(path) if method == "GET" or self._chance(0.1) else b""
        return method, path, query, self.headers(len(body)), [body[:cut], body[cut:]]

    def body(self) -> bytes:
        """Return a valid body with up to three wrong values and two wrong places in its bytes."""
        body = copy.deepcopy(self._pick(VALID))
        tables = [body, *body.get("messages", ())]
        for _ in range(self._pick((0, 0, 1, 1, 2, 3))):
            table = self._pick(tables)
            table[self._pick((*table, *STRINGS))] = self._values.value()
        text = json.dumps(body, ensure_ascii=self._chance(0.5))
        raw = bytearray(text.encode("utf-8", "surrogatepass"))
        for _ in range(self._pick((0, 0, 0, 1, 2))):
            at = self._random.randrange(len(raw))
            raw[at : at + self._random.randrange(3)] = self._bytes()
        return bytes(raw)

    def query(self, path: str) -> bytes:
        """Return a query; its names, values, escapes and bytes may be wrong."""
        names = ["prompt"] if path == "/stream-ai" else []
        names += [self._pick(PARAMETERS) for _ in range(self._pick((0, 0, 1, 2, 3)))]
        pairs = []
        for name in names:
            value = self._pick(STRINGS).encode("utf-8", "surrogatepass") or self._bytes()
            escaped = "".join(f"%{byte:02X}" for byte in value)
            pairs.append(
                self._pick((f"{name}={escaped}", f"{name}={escaped}", f"{escaped}={name}"))
            )
        query = self._pick(("&", "&", "&&", ";")).join(pairs).encode()
        return query + (self._bytes() if self._chance(0.1) else b"")

    def headers(self, length: int) -> list[tuple[bytes, bytes]]:
        """Return headers; their values may be wrong."""
        headers = [(b"host", b"127.0.0.1:2")]
        if self._chance(0.5):
            wrong = self._pick((b"0", b"-1", b"x", b"99999999"))
            headers.append((b"content-length", wrong if self._chance(0.1) else b"%d" % length))
        for name in (b"accept", b"last-event-id", b"idempotency-key", b"content-type", b"origin"):
            if self._chance(0.2):
                value = self._pick((*STRINGS, "text/event-stream", "application/json", "*/*;q=x"))
                headers.append((name, value.encode("utf-8", "surrogatepass")))
        return headers

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _bytes(self) -> bytes:
        return self._random.randbytes(self._random.randrange(4))


async def call(app: ASGIApp, request: Request) -> tuple[int, str, bytes]:
    """Call an application without a server; return status, content type and body."""
    method, path, query, headers, pieces = request
    sent: list[Message] = []
    incoming: Iterator[Message] = iter(
        {"type": "http.request", "body": piece, "more_body": more}
        for piece, more in zip(pieces, (True, False), strict=True)
    )

    async def receive() -> Message:
        if (message := next(incoming, None)) is None:
            await anyio.sleep_forever()
        assert message is not None
        return message

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    await app(scope, receive, send)
    head, *rest = sent
    content_type = dict(head["headers"]).get(b"content-type", b"").decode()
    return head["status"], content_type, b"".join(message.get("body", b"") for message in rest)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.promise("input:clear-error")
async def test_mutated_requests_crash_nothing(
    serve: Serve, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    """Nor is anything logged as a warning."""
    fake = msgspec.structs.replace(HURRIED, max_generations=REQUEST_COUNT)
    limits = msgspec.structs.replace(LIMITS, max_generations=REQUEST_COUNT)
    generations = GenerationSettings(keep_finished_seconds=0, keep_abandoned_seconds=0)
    service = await serve(
        Settings(providers={"fake": fake}, limits=limits, generations=generations)
    )
    mutator = Mutator(seed)
    statuses = dict.fromkeys((200, 201, 400, 403, 404, 405, 413, 422), 0)
    for _ in range(REQUEST_COUNT):
        request = mutator.request()
        with anyio.fail_after(20):
            status, content_type, body = await call(service.app, request)
        assert status in statuses, request
        statuses[status] += 1
        if status >= 400:
            assert content_type == "application/problem+json", request
            assert json.loads(body)["status"] == status
    # The mutations reach every kind of answer.
    assert min(statuses.values()) > 5, statuses
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert (await service.client.get("/healthz")).is_success
