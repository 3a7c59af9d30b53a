"""Whatever clients send: a clear error that names the cause, and nothing else happens."""

import copy
import json
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import anyio
import msgspec
import pytest
from starlette.types import ASGIApp, Message
from typing_extensions import override

from conftest import Serve
from streamsvc.config.settings import (
    FakeSettings,
    GenerationSettings,
    LimitSettings,
    ProviderSettings,
    Settings,
)
from streamsvc.messages import Prompt
from streamsvc.providers.base import Delta, Finish, Provider
from support.eventstream import Answer, view, wire
from support.service import Service, serving

CREATE = "/v1/generations"
HURRIED = FakeSettings(words_per_second=0, first_word_seconds=0, text="One two three.")
LIMITS = LimitSettings(max_body_bytes=20_000, max_prompt_chars=1000)
LONG_KEY = {"Idempotency-Key": "k" * 256}


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[Service]:
    """Give a service with small bounds; shared, because nothing that it is sent may change it."""
    settings = Settings(providers={"fake": HURRIED}, limits=LIMITS)
    async with serving(settings, {}) as service:
        yield service


def assert_is_problem(answer: Answer, body: bytes, status: int, field: str | None) -> None:
    """Compare with what RFC 9457 and `docs/wire.md` say of a problem."""
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    problem = json.loads(body)
    assert problem["status"] == status
    assert problem.get("field") == field
    assert problem["title"]
    assert problem["code"].replace("_", "").isalpha()
    # One sentence for people.
    assert problem["detail"][0].isupper()
    assert len(problem["detail"]) < 200
    # It names the field: many clients show nothing else.
    if problem["code"] == "invalid_field":
        assert str(field).rpartition(".")[2] in problem["detail"]
    assert problem.keys() <= {"title", "status", "detail", "code", "field"}


TURN = {"role": "user", "content": "hi"}
BODIES: list[tuple[object, int, str | None]] = [
    # It cannot be read.
    (b"", 400, None),
    (b"prompt=hi", 400, None),
    (b'{"prompt": "hi"', 400, None),
    (b'{"prompt": "hi"} {}', 400, None),
    (b'{"prompt": "\xff"}', 400, None),
    (b'\xef\xbb\xbf{"prompt": "hi"}', 400, None),
    ('{"prompt": "hi"}'.encode("utf-16"), 400, None),
    (b'{"prompt": "hi", "temperature": NaN}', 400, None),
    # It is no object.
    (b"null", 422, "body"),
    (b"[" * 10_000, 422, "body"),
    (["hi"], 422, "body"),
    ("hi", 422, "body"),
    # The question.
    ({}, 422, "prompt"),
    ({"prompt": None}, 422, "prompt"),
    ({"prompt": ""}, 422, "prompt"),
    ({"prompt": " \n\u2028"}, 422, "prompt"),
    ({"prompt": 7}, 422, "prompt"),
    ({"prompt": ["hi"]}, 422, "prompt"),
    ({"prompt": "hi", "messages": [TURN]}, 422, "messages"),
    ({"messages": []}, 422, "messages"),
    ({"messages": "hi"}, 422, "messages"),
    ({"messages": [{"role": "system", "content": "Be brief."}]}, 422, "messages"),
    ({"messages": ["hi"]}, 422, "messages[0]"),
    ({"messages": [TURN, {"content": "hi"}]}, 422, "messages[1].role"),
    ({"messages": [TURN, {"role": "robot", "content": "hi"}]}, 422, "messages[1].role"),
    ({"messages": [{"role": "user", "content": ""}]}, 422, "messages[0].content"),
    ({"messages": [TURN, {"role": "user", "content": 7}]}, 422, "messages[1].content"),
    ({"messages": [TURN, {"role": "user", "content": ["hi"]}]}, 422, "messages[1].content"),
    ({"messages": [{**TURN, "name": "Ada"}]}, 422, "messages[0].name"),
    ({"prompt": "x" * 1001}, 413, "prompt"),
    ({"prompt": "hi", "system": "x" * 1000}, 413, "prompt"),
    ({"messages": [{"role": "user", "content": "x" * 600}] * 2}, 413, "messages"),
    # Everything else.
    ({"prompt": "hi", "Prompt": "hi"}, 422, "Prompt"),
    ({"prompt": "hi", "model": "m"}, 422, "model"),
    ({"prompt": "hi", "stream": True}, 422, "stream"),
    ({"prompt": "hi", "system": None}, 422, "system"),
    ({"prompt": "hi", "provider": "other"}, 422, "provider"),
    ({"prompt": "hi", "provider": 1}, 422, "provider"),
    ({"prompt": "hi", "temperature": -0.1}, 422, "temperature"),
    ({"prompt": "hi", "temperature": 2.1}, 422, "temperature"),
    ({"prompt": "hi", "temperature": "1"}, 422, "temperature"),
    ({"prompt": "hi", "temperature": True}, 422, "temperature"),
    (b'{"prompt": "hi", "temperature": 1e999}', 422, "temperature"),
    ({"prompt": "hi", "max_tokens": 0}, 422, "max_tokens"),
    ({"prompt": "hi", "max_tokens": 2**31}, 422, "max_tokens"),
    ({"prompt": "hi", "max_tokens": 10**40}, 422, "max_tokens"),
    ({"prompt": "hi", "max_tokens": 1.5}, 422, "max_tokens"),
    ({"prompt": "hi", "stop": ""}, 422, "stop"),
    ({"prompt": "hi", "stop": ["a"] * 5}, 422, "stop"),
    ({"prompt": "hi", "stop": [1]}, 422, "stop[0]"),
    ({"prompt": "hi", "stop": ["a", ""]}, 422, "stop[1]"),
    ({"prompt": "hi", "stop": {"a": 1}}, 422, "stop"),
    ({"prompt": "hi", "seed": 2**63}, 422, "seed"),
    ({"prompt": "hi", "seed": -(2**63) - 1}, 422, "seed"),
    ({"prompt": "hi", "seed": "1"}, 422, "seed"),
    ({"prompt": "hi", "fault": "cut"}, 422, "fault"),
    ({"prompt": "hi", "fault": "nonsense"}, 422, "fault"),
    ({"prompt": "hi", "fault": 1}, 422, "fault"),
    ({"prompt": "hi", "fault": None}, 422, "fault"),
    ({"prompt": "hi", "grace_seconds": -1}, 422, "grace_seconds"),
    ({"prompt": "hi", "grace_seconds": 120.5}, 422, "grace_seconds"),
    ({"prompt": "hi", "grace_seconds": "1"}, 422, "grace_seconds"),
    ({"prompt": "hi", "metadata": []}, 422, "metadata"),
    ({"prompt": "hi", "metadata": {"a": 1}}, 422, "metadata[...]"),
    ({"prompt": "hi", "metadata": {"a": "x" * 513}}, 422, "metadata[...]"),
    ({"prompt": "hi", "metadata": {"a" * 65: "x"}}, 422, "metadata"),
    ({"prompt": "hi", "metadata": {str(n): "x" for n in range(17)}}, 422, "metadata"),
]


@pytest.mark.promise("input:clear-error")
async def test_a_body_that_is_wrong_is_refused_with_the_name_of_the_field(service: Service) -> None:
    before = len(service.log)
    for body, status, field in BODIES:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        for accept in ("application/json", "text/event-stream"):
            headers = {"Accept": accept}
            async with view(
                service.port, CREATE, method="POST", headers=headers, body=raw
            ) as answer:
                print(raw[:60], await answer.body())  # what failed, in pytest's report
            assert_is_problem(answer, bytes(answer.raw), status, field)
    assert len(service.log) == before


STREAM_AI = "/stream-ai?prompt=hi"
ONE = f"{CREATE}/gen_{'a' * 32}"
REQUESTS: list[tuple[str, str, Mapping[str, str], int, str | None]] = [
    ("GET", "/stream-ai", {}, 422, "prompt"),
    ("GET", "/stream-ai?prompt=", {}, 422, "prompt"),
    ("GET", "/stream-ai?prompt=%20%0A", {}, 422, "prompt"),
    ("GET", f"/stream-ai?prompt={'x' * 1001}", {}, 413, "prompt"),
    ("GET", "/stream-ai?prompt=hi&prompt=ho", {}, 422, "prompt"),
    ("GET", "/stream-ai?promt=hi", {}, 422, "promt"),
    ("GET", f"{STREAM_AI}&temperature=1", {}, 422, "temperature"),
    ("GET", f"{STREAM_AI}&%FF=1", {}, 422, "\ufffd"),
    ("GET", f"{STREAM_AI}&provider=other", {}, 422, "provider"),
    ("GET", f"{STREAM_AI}&fault=cut", {}, 422, "fault"),
    ("GET", f"{STREAM_AI}&fault=cut&fault=cut", {}, 422, "fault"),
    ("GET", f"{STREAM_AI}&format=xml", {}, 422, "format"),
    ("GET", f"{STREAM_AI}&format=", {}, 422, "format"),
    ("HEAD", f"{STREAM_AI}&format=xml", {}, 422, "format"),
    ("GET", f"{STREAM_AI}&key={'k' * 256}", {}, 422, "key"),
    ("GET", STREAM_AI, LONG_KEY, 422, "Idempotency-Key"),
    ("POST", CREATE, LONG_KEY, 422, "Idempotency-Key"),
    ("POST", f"{CREATE}?format=xml", {}, 422, "format"),
    ("POST", f"{CREATE}?prompt=hi", {}, 422, "prompt"),
    ("GET", f"{ONE}/events?from=1", {}, 422, "from"),
    ("GET", f"{ONE}/events?format=xml", {}, 422, "format"),
    ("GET", f"{ONE}/events", {}, 404, None),
    ("GET", ONE, {}, 404, None),
    ("POST", f"{ONE}/stop", {}, 404, None),
    ("GET", "/none", {}, 404, None),
    ("GET", "/playground/none.js", {}, 404, None),
    ("POST", "/", {}, 405, None),
    ("GET", "/stream-ai/x", {}, 404, None),
    ("GET", "/v1", {}, 404, None),
    ("POST", STREAM_AI, {}, 405, None),
    ("GET", CREATE, {}, 405, None),
    ("DELETE", ONE, {}, 405, None),
    ("GET", f"{ONE}/stop", {}, 405, None),
    ("OPTIONS", CREATE, {}, 405, None),
    ("PROPFIND", "/healthz", {}, 405, None),
]


@pytest.mark.promise("input:clear-error")
async def test_a_request_that_is_wrong_is_refused_with_the_name_of_what_is(
    service: Service,
) -> None:
    before = len(service.log)
    for method, target, headers, status, field in REQUESTS:
        body = b'{"prompt": "hi"}' if method == "POST" else None
        async with view(service.port, target, method=method, headers=headers, body=body) as answer:
            print(method, target[:60], await answer.body())  # what failed, in pytest's report
        if method == "HEAD":
            assert answer.status == status
        else:
            assert_is_problem(answer, bytes(answer.raw), status, field)
        assert ("allow" in answer.headers) == (status == 405)
    assert len(service.log) == before


@pytest.mark.promise("input:clear-error")
async def test_a_body_beyond_the_bound_is_refused_before_it_is_read(service: Service) -> None:
    async with wire(service.port) as connection:
        # All that is sent is the announcement.
        await connection.send(
            b"POST /v1/generations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n"
        )
        with anyio.fail_after(5):
            answer = await connection.answer("POST")
            assert_is_problem(answer, await answer.body(), 413, None)


@pytest.mark.promise("input:clear-error")
async def test_a_body_that_grows_beyond_the_bound_is_refused_as_soon_as_it_does(
    service: Service,
) -> None:
    head = b"POST /v1/generations HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with wire(service.port) as connection:
        await connection.send(head + 3 * (b"2000\r\n" + b" " * 0x2000 + b"\r\n"))
        with anyio.fail_after(5):
            answer = await connection.answer("POST")
            assert_is_problem(answer, await answer.body(), 413, None)


async def test_a_body_of_the_largest_size_is_read_in_any_pieces(service: Service) -> None:
    body = b'{"prompt": "hi"}'.ljust(LIMITS.max_body_bytes)
    async with wire(service.port) as connection:
        for pieces in (body, [body], [body[at : at + 1000] for at in range(0, len(body), 1000)]):
            answer = await connection.ask("POST", CREATE, {}, pieces)
            assert answer.status == 201
            await answer.body()
        answer = await connection.ask("POST", CREATE, {}, body + b" ")
        assert answer.status == 413


async def test_a_client_that_leaves_in_the_middle_of_its_body_harms_nobody(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    before = len(service.log)
    async with wire(service.port) as connection:
        await connection.send(
            b'POST /v1/generations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"prompt":'
        )
        connection.reset()
    async with wire(service.port) as connection:
        answer = await connection.ask("POST", CREATE, {}, b'{"prompt": "hi"}')
        assert answer.status == 201
    assert len(service.log) == before + 1
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.promise("secret:kept")
async def test_a_mistake_of_ours_is_a_500_that_tells_nothing(service: Service) -> None:
    broken: Any = service.log._streams
    broken["broken"] = "not a log"
    async with view(service.port, f"{CREATE}/broken") as answer:
        body = await answer.body()
    assert_is_problem(answer, body, 500, None)
    assert json.loads(body)["code"] == "internal_error"
    assert b"log" not in body
    assert (await service.client.get("/healthz")).is_success


# Ten thousand requests at random, straight into the application: no socket slows them down.

SEED = 20_260
REQUEST_COUNT = 10_000

STRINGS = (
    *("", " ", "hi", "-1", "0", "\0", "\u2028", "\ufeff", "😀", "\ud800", "\udfff\ud83d", "x" * 2000),
    *("$.prompt", "` - at `$.x`", "`", "gen_", f"gen_{'a' * 32}.0", "fake", "json", "text", "xml"),
    *("user", "system", "__proto__", "%s%n", "\r\nX: y", "NaN", "é" * 300),
)  # fmt: skip
NUMBERS = (0, -1, 1, 2, 1.5, -0.0, 1e308, 10**40, -(10**20), 2**31, 2**63, 2**64, float("inf"))
VALID: tuple[dict[str, Any], ...] = (
    {"prompt": "hi"},
    {"prompt": "hi", "system": "Be brief.", "temperature": 1, "max_tokens": 2, "stop": "x"},
    {"messages": [TURN, {"role": "assistant", "content": "ho"}, TURN], "seed": 7, "stop": ["a"]},
    {"prompt": "hi", "metadata": {"a": "b"}, "grace_seconds": 0.5, "provider": "fake"},
)
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
    """Requests that were valid once."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311  # repeatable, and no secret
        self._pick = self._random.choice

    def request(self) -> Request:
        """Return method, path, query, headers and the pieces of the body."""
        method, path = self._pick(TARGETS)
        if self._chance(0.1):
            method = self._pick(METHODS)
        body = b"" if method == "GET" else self.body()
        cut = self._random.randrange(len(body) + 1)
        query = self.query(path) if method == "GET" or self._chance(0.1) else b""
        return method, path, query, self.headers(len(body)), [body[:cut], body[cut:]]

    def value(self, depth: int = 0) -> object:
        """Return any JSON value."""
        kind = self._random.randrange(3 if depth > 3 else 5)
        size = self._random.randrange(4)
        match kind:
            case 0:
                return self._pick(STRINGS)
            case 1:
                return self._pick(NUMBERS)
            case 2:
                return self._pick((None, True, False))
            case 3:
                return [self.value(depth + 1) for _ in range(size)]
            case _:
                return {self._pick(STRINGS): self.value(depth + 1) for _ in range(size)}

    def body(self) -> bytes:
        """Return a valid body with up to three things wrong, in its values and in its bytes."""
        body = copy.deepcopy(self._pick(VALID))
        tables = [body, *body.get("messages", ())]
        for _ in range(self._pick((0, 0, 1, 1, 2, 3))):
            table = self._pick(tables)
            table[self._pick((*table, *STRINGS))] = self.value()
        text = json.dumps(body, ensure_ascii=self._chance(0.5))
        raw = bytearray(text.encode("utf-8", "surrogatepass"))
        for _ in range(self._pick((0, 0, 0, 1, 2))):
            at = self._random.randrange(len(raw))
            raw[at : at + self._random.randrange(3)] = self._bytes()
        return bytes(raw)

    def query(self, path: str) -> bytes:
        """Return a query that may have the wrong names, values, escapes and bytes."""
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
        """Return headers with anything in them."""
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
    """Ask an application without a server; return status, content type and body."""
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


@pytest.mark.promise("input:clear-error")
async def test_ten_thousand_mutated_requests_crash_nothing_and_leave_no_warning(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """Each answer is a success or a problem that can be read; the seed makes it repeatable."""
    fake = msgspec.structs.replace(HURRIED, max_generations=REQUEST_COUNT)
    limits = msgspec.structs.replace(LIMITS, max_generations=REQUEST_COUNT)
    generations = GenerationSettings(keep_finished_seconds=0, keep_abandoned_seconds=0)
    service = await serve(
        Settings(providers={"fake": fake}, limits=limits, generations=generations)
    )
    mutator = Mutator(SEED)
    statuses = dict.fromkeys((200, 201, 400, 403, 404, 405, 413, 422), 0)
    for _ in range(REQUEST_COUNT):
        request = mutator.request()
        with anyio.fail_after(5):
            status, content_type, body = await call(service.app, request)
        assert status in statuses, request
        statuses[status] += 1
        if status >= 400:
            assert content_type == "application/problem+json", request
            assert json.loads(body)["status"] == status
    print(statuses)
    # The mutations reach everything there is to reach.
    assert min(statuses.values()) > 50
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert (await service.client.get("/healthz")).is_success


SECRET = "xyzzy-plugh"


class CrashingProvider(Provider):
    """A mistake of ours, of the kind that has the prompt in its text."""

    @override
    async def generate(self, prompt: Prompt, emit: Callable[[Delta | Finish], None]) -> Finish:
        raise RuntimeError(repr(prompt))


@pytest.mark.promise("secret:kept")
async def test_prompts_appear_in_no_log_whatever_becomes_of_the_request(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """At every level of every logger of the process; the raw client logs nothing of its own."""
    caplog.set_level(logging.DEBUG)
    hasty = FakeSettings(first_word_seconds=60, first_token_seconds=0.01)
    providers: dict[str, ProviderSettings]
    providers = {"fake": HURRIED, "failing": hasty, "crashing": HURRIED}
    service = await serve(Settings(providers=providers, limits=LIMITS))
    service.supervisor.entries._providers._open["crashing"] = CrashingProvider()
    asked = [
        ("GET", f"/stream-ai?prompt={SECRET}", None),
        ("GET", f"/stream-ai?prompt={SECRET}&provider=failing", None),
        ("GET", f"/stream-ai?prompt={SECRET}&provider=crashing", None),
        ("GET", f"/stream-ai?prompt={SECRET}&provider={SECRET}", None),
        ("GET", f"/stream-ai?prompt={SECRET * 100}", None),
        ("GET", f"/stream-ai?{SECRET}={SECRET}", None),
        ("GET", f"/stream-ai/{SECRET}%20{SECRET}", None),
        ("GET", f"/none?{SECRET}", None),
        *(("POST", CREATE, json.dumps(body).encode()) for body in secret_bodies()),
        ("POST", CREATE, b'{"prompt": "' + SECRET.encode()),
        ("POST", CREATE, SECRET.encode() * 10_000),
    ]
    with anyio.fail_after(10):
        for method, target, body in asked:
            async with wire(service.port) as connection:
                headers = {"Accept": "text/event-stream"}
                await (await connection.ask(method, target, headers, body)).body()
        async with wire(service.port) as connection:
            await connection.ask("GET", f"/stream-ai?prompt={SECRET}&provider=failing")
            connection.reset()
        while service.supervisor.running:
            await service.client.get("/readyz")
    finished = [line for line in caplog.messages if line.startswith("generation.finished")]
    assert {line.partition("outcome=")[2].split()[0] for line in finished} >= {
        *("completed", "first_token_timeout", "internal_error")
    }
    assert SECRET not in caplog.text
    assert [record for record in caplog.records if record.exc_info] == []


def secret_bodies() -> Iterator[dict[str, object]]:
    yield {"prompt": SECRET}
    yield {"prompt": SECRET, "provider": "failing"}
    yield {"prompt": SECRET, "provider": "crashing"}
    yield {"prompt": SECRET, SECRET: SECRET}
    yield {"messages": [{"role": SECRET, "content": SECRET}]}
    yield {"messages": [{"role": "user", "content": SECRET}], "metadata": SECRET}


@pytest.mark.promise("secret:kept")
async def test_a_mistake_of_ours_is_a_500_without_its_text(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator is told its kind and place, the client that something went wrong."""
    service = await serve(Settings())

    async def crash(*_: object, **__: object) -> str:
        raise LookupError("the-secret-question")

    monkeypatch.setattr(service.supervisor, "create", crash)
    answer = await service.client.get("/stream-ai?prompt=the-secret-question")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "internal_error"
    ours = "\n".join(
        record.getMessage() + (record.exc_text or "")
        for record in caplog.records
        if not record.name.startswith("httpx2")  # the test's own client
    )
    assert "request.crashed exception=LookupError at=test_bad_input.py" in ours
    assert "the-secret-question" not in ours


@pytest.mark.parametrize("path", ["/stream-ai/?prompt=a", "/v1/generations/", "/healthz/"])
async def test_an_address_with_a_slash_too_many_is_not_redirected(serve: Serve, path: str) -> None:
    service = await serve(Settings())
    answer = await service.client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
