"""Each request is reported once, with nothing that its client chose freely."""

import asyncio
import gc
import weakref
from collections.abc import Mapping
from pathlib import Path

import anyio
import pytest

from conftest import Serve
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import CorsSettings
from streamsvc.hooks import RequestEnded
from streamsvc.web import request_log
from support.api_keys import KeysFile, bearer, guarded
from support.asking import fetch
from support.eventstream import view, wire
from support.native import ASK, CREATE, HURRIED, NEVER, with_fake
from support.service import Service
from support.shared import shared_service

SECRET = "xyzzy-plugh"
PAGE = "https://page.test"

service = shared_service(with_fake(HURRIED, cors=CorsSettings(origins=(PAGE,))))


class Requests:
    """The requests that a service reports.

    Args:
        service: reports them.
    """

    def __init__(self, service: Service) -> None:
        self._queue: asyncio.Queue[RequestEnded] = asyncio.Queue()
        service.app.state.hooks.listen(RequestEnded, self._queue.put_nowait)

    async def next(self) -> RequestEnded:
        """Return the next one; there is no other."""
        with anyio.fail_after(10):
            ended = await self._queue.get()
        assert self._queue.empty()
        return ended


@pytest.mark.parametrize(
    ("method", "target", "headers", "expected"),
    [
        ("GET", "/healthz", {}, ("GET", "/healthz", 200)),
        ("HEAD", "/readyz", {}, ("HEAD", "/readyz", 200)),
        ("GET", f"/{SECRET}?{SECRET}", {}, ("GET", "*", 404)),
        ("GET", f"/v1/models/{SECRET}", {}, ("GET", "/v1/models/{id}", 404)),
        ("GET", f"/playground/{SECRET}.js", {}, ("GET", "/playground/{path}", 404)),
        ("DELETE", CREATE, {}, ("DELETE", CREATE, 405)),
        (SECRET.replace("-", "").upper(), "/healthz", {}, None),
        ("GET", "/healthz", {"Host": f"{SECRET}.test"}, ("GET", "*", 421)),
        (
            "OPTIONS",
            CREATE,
            {"Origin": PAGE, "Access-Control-Request-Method": "POST"},
            ("OPTIONS", "*", 200),
        ),
        (
            "OPTIONS",
            CREATE,
            {"Origin": f"https://{SECRET}.test", "Access-Control-Request-Method": "POST"},
            ("OPTIONS", "*", 403),
        ),
    ],
)
async def test_every_response_is_reported_with_its_route(
    service: Service,
    method: str,
    target: str,
    headers: Mapping[str, str],
    expected: tuple[str, str, int] | None,
) -> None:
    """Also those that other middleware gives. The parser refuses an unknown method: no request, no report."""
    requests = Requests(service)
    answer = await fetch(service.port, target, method=method, headers=headers)
    if expected is None:
        assert answer.status == 400
        return
    ended = await requests.next()
    assert (ended.method, ended.route, ended.status) == expected
    assert answer.status == ended.status
    assert ended.first_byte_seconds is not None
    assert 0 <= ended.first_byte_seconds <= ended.seconds
    assert (ended.principal, ended.generation) == ("", "")
    assert SECRET not in str(ended)


async def test_a_stream_is_reported_at_its_end_with_its_generation(service: Service) -> None:
    requests = Requests(service)
    answer = await fetch(service.port, ASK)
    ended = await requests.next()
    assert (ended.route, ended.status) == ("/stream-ai", 200)
    assert ended.generation == answer.headers["x-generation-id"]
    for method, end in (("GET", ""), ("POST", "/stop")):
        await fetch(service.port, f"{CREATE}/{ended.generation}{end}", method=method)
        other = await requests.next()
        assert other.route == f"/v1/generations/{{id}}{end}"
        assert other.generation == ended.generation
    await fetch(service.port, f"{CREATE}/{NEVER}x")
    assert (await requests.next()).generation == ""


@pytest.mark.promise("cancel:disconnect")
async def test_a_client_that_leaves_is_reported_once(serve: Serve) -> None:
    """In the middle of a stream, and before the head of a response."""
    silent = FakeSettings(first_word_seconds=3600)
    service = await serve(with_fake(silent))
    requests = Requests(service)
    async with view(service.port, ASK) as answer:
        await answer.event()
    ended = await requests.next()
    assert (ended.route, ended.status) == ("/stream-ai", 200)
    body = b'{"model": "fake", "stream": true, "messages": [{"role": "user", "content": "hi"}]}'
    async with wire(service.port) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        await connection.send(head.encode() + body)
        with anyio.fail_after(10):
            await service.until(lambda: bool(service.supervisor.running))
    ended = await requests.next()
    assert (ended.route, ended.status) == ("/v1/chat/completions", 0)
    assert ended.first_byte_seconds is None


async def test_the_caller_is_named_by_key_and_by_ticket(serve: Serve, tmp_path: Path) -> None:
    keys = KeysFile(tmp_path / "keys.toml")
    key = keys.add("website")
    service = await serve(guarded(with_fake(HURRIED), keys))
    requests = Requests(service)
    await fetch(service.port, ASK)
    ended = await requests.next()
    assert (ended.status, ended.principal) == (401, "")
    made = await service.client.post(
        "/v1/tickets", json={"request": {"prompt": "hi"}}, headers=bearer(key)
    )
    assert (await requests.next()).principal == "website"
    await fetch(service.port, made.json()["url"])
    ended = await requests.next()
    assert (ended.route, ended.principal) == ("/v1/stream", "website")


async def test_a_crash_is_reported_with_its_status(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: object, **__: object) -> str:
        raise LookupError(SECRET)

    monkeypatch.setattr(service.supervisor, "create", crash)
    requests = Requests(service)
    await fetch(service.port, ASK)
    ended = await requests.next()
    assert (ended.route, ended.status) == ("/stream-ai", 500)


async def test_a_note_leaves_nothing_for_the_collector(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A note, its scope and the server's `send` refer to each other until the request ends."""
    notes: list[weakref.ref[object]] = []

    class Note(request_log.RequestNote):
        __slots__ = ("__weakref__",)

        def __init__(self, *args: object) -> None:
            super().__init__(*args)  # type: ignore[arg-type]
            notes.append(weakref.ref(self))

    monkeypatch.setattr(request_log, "RequestNote", Note)
    requests = Requests(service)
    gc.disable()
    try:
        await fetch(service.port, ASK)
        await requests.next()
        with anyio.fail_after(10):
            while any(note() is not None for note in notes):
                await anyio.lowlevel.checkpoint()
    finally:
        gc.enable()
    assert notes
