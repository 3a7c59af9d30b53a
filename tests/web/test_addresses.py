"""Wrong addresses: the sentence of the refusal, its shape, and its line in the log."""

import itertools
import json
import logging
from collections.abc import Mapping

import pytest

from conftest import Serve
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import LimitSettings, ServerSettings, Settings
from streamsvc.hooks import Hooks
from streamsvc.telemetry.log_lines import MAX_REFUSALS, WINDOW_SECONDS, LogLines
from streamsvc.web.refusals import Refusals
from support.asking import fetch
from support.eventstream import Answer, view
from support.service import Service
from support.shared import shared_service

FAKE = FakeSettings(words_per_second=0, first_word_seconds=0)


service = shared_service(Settings(providers={"fake": FAKE}))


async def ask(
    service: Service, method: str, target: str, headers: Mapping[str, str] | None = None
) -> Answer:
    body = b"{}" if method == "POST" else None
    return await fetch(service.port, target, method=method, headers=headers, body=body)


# ---- OpenAI's clients with a wrong base_url

BASES = (
    "",
    "/",
    "//v1",
    "/v1//",
    "/v1/v1",
    "/openai/v1",
    "/api",
    "/api/v1",
    "/v2",
    "/v1beta/openai",
)
NOT_SERVED = (
    *("completions", "responses", "embeddings", "responses/resp_1/cancel", "moderations"),
    *("audio/speech", "images/generations", "files", "messages", "rerank"),
)


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("base", BASES)
async def test_wrong_base_url_is_named_in_an_openai_error(service: Service, base: str) -> None:
    for method, endpoint in (
        ("POST", "chat/completions"),
        ("GET", "models"),
        ("GET", "models/fake"),
        *(("POST", endpoint) for endpoint in NOT_SERVED),
    ):
        path = f"{base}/{endpoint}"
        answer = await ask(service, method, path)
        message = assert_is_not_found(answer)
        assert repr(path) in message
        if base.strip("/").replace("//", "/") == "v1":
            assert "an extra slash" in message
        else:
            assert "base_url must end in /v1" in message


@pytest.mark.promise("input:clear-error")
async def test_unserved_endpoint_is_refused_with_the_served_ones(
    service: Service,
) -> None:
    for endpoint in NOT_SERVED:
        message = assert_is_not_found(await ask(service, "POST", f"/v1/{endpoint}"))
        assert "supports POST /v1/chat/completions and GET /v1/models" in message
        assert "base_url" not in message


@pytest.mark.parametrize("path", ["/v1/chat/completions/", "/v1/models/", "/v1/chat//completions"])
async def test_extra_slash_is_named_in_an_openai_error(service: Service, path: str) -> None:
    method = "POST" if "chat" in path else "GET"
    assert "an extra slash" in assert_is_not_found(await ask(service, method, path))


@pytest.mark.parametrize(
    "path", ["/V1/chat/completions", "/v1/Chat/Completions", "/OpenAI/v1/models"]
)
async def test_wrong_letter_case_gets_an_openai_error(service: Service, path: str) -> None:
    method = "GET" if path.endswith("models") else "POST"
    assert_is_not_found(await ask(service, method, path))


@pytest.mark.promise("input:clear-error")
async def test_suggested_address_has_no_route_syntax(service: Service) -> None:
    answer = await ask(service, "GET", "/api/chat/a/streams")
    assert bytes(answer.raw).decode().endswith("; did you mean /api/chat/{id}/stream?")


async def test_wrong_base_url_under_a_root_path_is_named(serve: Serve) -> None:
    service = await serve(Settings(server=ServerSettings(root_path="/llm")))
    message = assert_is_not_found(await ask(service, "POST", "/chat/completions"))
    assert "base_url must end in /v1" in message


def assert_is_not_found(answer: Answer) -> str:
    """Check an error object of OpenAI's API; return its sentence, which is all that clients show."""
    error = json.loads(bytes(answer.raw))["error"]
    assert (answer.status, error["code"]) == (404, "not_found")
    assert answer.headers["x-should-retry"] == "false"
    message: str = error["message"]
    assert len(message) < 250
    return message


# ---- Native addresses


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/stream", "/stream-ai"),
        ("/v1/gen", "/v1/generations"),
        ("/stream_ai", "/stream-ai"),
        ("/stream-ai/", "/stream-ai"),
        ("//stream-ai", "/stream-ai"),
        ("/v1/generation", "/v1/generations"),
        ("/generations", "/v1/generations"),
        ("/v1/generations/", "/v1/generations"),
        (f"/v1/generations/gen_{'a' * 32}/event", "/v1/generations/{id}/events"),
        ("/healthy", "/healthz"),
        ("/ready", "/readyz"),
        ("/v1/provider", "/v1/providers"),
        ("/none", ""),
        ("/v1", ""),
        ("/" + "x" * 5000, ""),
        ("/%00%0A%FF", ""),
    ],
)
async def test_wrong_address_names_the_nearest_one(service: Service, path: str, meant: str) -> None:
    answer = await ask(service, "GET", path)
    problem = json.loads(bytes(answer.raw))
    assert (answer.status, problem["code"]) == (404, "not_found")
    assert problem["detail"].endswith(f"; did you mean {meant}?" if meant else "'.")
    assert len(problem["detail"]) < 200


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("method", "path", "sentence"),
    [
        ("GET", "/v1/generations", "GET is not allowed here; use POST; an EventSource takes GET /stream-ai?prompt=…."),
        ("POST", "/stream-ai", "POST is not allowed here; use GET, or POST /v1/generations with a JSON body."),
        ("DELETE", "/healthz", "DELETE is not allowed here; use GET."),
        ("PUT", "/v1/chat/completions", "PUT is not allowed here; use POST."),
        ("GET", "/api/chat", "GET is not allowed here; use POST."),
    ],
)  # fmt: skip
async def test_wrong_method_names_the_right_one(
    service: Service, method: str, path: str, sentence: str
) -> None:
    answer = await ask(service, method, path)
    assert answer.status == 405
    assert answer.headers["allow"]
    assert sentence in bytes(answer.raw).decode()


# ---- The log


@pytest.mark.promise("secret:kept")
async def test_refusal_is_logged_once_and_without_its_content(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    service = await serve(
        Settings(providers={"fake": FAKE}, limits=LimitSettings(max_prompt_chars=50))
    )
    chat, ui = "/v1/chat/completions", "/api/chat"
    refused: list[tuple[str, str, dict[str, str], str]] = [
        ("GET", "/stream?prompt=xyzzy", {}, "status=404 code=not_found method=GET path=/stream"),
        ("GET", "/stream-ai?xyzzy=1", {}, "status=422 code=invalid_field method=GET path=/stream-ai"),
        ("GET", f"/stream-ai?prompt={'xyzzy' * 20}", {}, "status=413 code=too_large method=GET path=/stream-ai"),
        ("GET", "/v1/generations", {}, "status=405 code=method_not_allowed method=GET path=/v1/generations"),
        ("POST", "/v1/generations", {"Content-Encoding": "xyzzy"}, "status=415 code=unsupported_encoding method=POST path=/v1/generations"),
        ("POST", chat, {}, f"status=400 code=invalid_field method=POST path={chat}"),
        ("POST", ui, {}, f"status=422 code=invalid_field method=POST path={ui}"),
        ("GET", "/stream-ai/xyzzy%20plugh", {}, "status=404 code=not_found method=GET path=/stream-ai/*"),
        ("GET", f"/v1/sk-{'xyzzy' * 10}", {}, "status=404 code=not_found method=GET path=/v1/*"),
        ("GET", "/a%0Arequest.refused%0D", {}, "status=404 code=not_found method=GET path=/*"),
        ("GET", "/stream-ai?prompt=xyzzy", {"Origin": "http://localhost:5173"},
         "status=403 code=origin_refused method=GET path=/stream-ai origin=http://localhost:5173 setting=cors.origins"),
        ("GET", "/stream-ai?prompt=xyzzy", {"Origin": "xyzzy\tplugh"},
         "status=403 code=origin_refused method=GET path=/stream-ai origin=* setting=cors.origins"),
        ("GET", "/readyz?xyzzy", {"Host": "evil.example:1"},
         "status=421 code=host_refused method=GET path=/readyz host=evil.example setting=server.hosts"),
    ]  # fmt: skip
    for (method, target, headers, line), _ in itertools.product(refused, range(3)):
        assert (await ask(service, method, target, headers)).status >= 400
        assert caplog.messages.count(f"request.refused {line}") == 1, target
    assert len([line for line in caplog.messages if "request.refused" in line]) == len(refused)
    assert "xyzzy" not in "".join(
        record.getMessage() for record in caplog.records if record.name.startswith("streamsvc")
    )


@pytest.mark.promise("secret:kept")
async def test_busy_answer_to_a_browser_is_logged_too(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings = Settings(
        providers={"fake": FakeSettings(first_word_seconds=3600)},
        limits=LimitSettings(max_generations=1),
    )
    service = await serve(settings)
    async with view(service.port, "/stream-ai?prompt=hi") as running:
        await running.event()
        assert (await ask(service, "GET", "/stream-ai?prompt=ho")).status == 200
    line = "status=200 code=overloaded method=GET path=/stream-ai limit=limits.max_generations"
    assert f"request.refused {line}" in caplog.messages


def test_scanner_cannot_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = 0.0
    hooks = Hooks()
    LogLines(hooks, clock=lambda: now)
    refusals = Refusals(hooks)

    def scan(count: int) -> None:
        for at in range(count):
            scope = {"method": "GET", "path": f"/{at}/x.php", "root_path": ""}
            refusals.note(scope, 404, "not_found")

    scan(10_000)
    assert len(caplog.messages) == MAX_REFUSALS
    now = WINDOW_SECONDS - 0.1
    scan(10)
    assert len(caplog.messages) == MAX_REFUSALS
    now = WINDOW_SECONDS
    scan(1)
    further = 10_000 - MAX_REFUSALS + 10
    assert caplog.messages[MAX_REFUSALS:] == [
        f"request.refused further={further}",
        "request.refused status=404 code=not_found method=GET path=/0/x.php",
    ]
