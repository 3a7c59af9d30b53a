"""OpenAI's own clients, unmodified, over real HTTP: answers arrive complete, and failures as exceptions."""

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import anyio
import pytest
from openai_clients import (
    Client,
    Failure,
    How,
    PythonClient,
    Question,
    Report,
    SyncPythonClient,
    node_client,
)

from conftest import Serve
from streamsvc.config.provider_settings import OpenAISettings
from streamsvc.config.settings import CorsSettings, GenerationSettings, Settings, StreamSettings
from support.service import Service, serving
from support.upstreams import (
    CLOSE,
    EMPTY,
    HOLD,
    OPENAI,
    RESET,
    Call,
    Script,
    Step,
    Upstream,
    finish,
    reasoning,
    status,
    text,
    upstream,
)

WORDS = ("One ", "'two' ", "thr", "ee\u2028\r\n 😀.")
ANSWER = "".join(WORDS)
ASKED = {"model": "openai", "messages": [{"role": "user", "content": "hi"}]}
WITH_USAGE = {**ASKED, "stream_options": {"include_usage": True}}
PAUSE: Step = lambda _: anyio.sleep(0.05)  # noqa: E731  # a pause of the model, with keepalives

NODE = ("openai6", "openai7")
WAYS: list[tuple[str, How]] = [
    *((name, how) for name in ("python", *NODE) for how in ("stream", "helper", "whole")),
    ("python-sync", "stream"),
    ("python-sync", "whole"),
]


def _with(ways: Iterable[tuple[str, How]]) -> pytest.MarkDecorator:
    """Parametrize a test with ways to ask; some need Node.js."""
    marks = {name: [pytest.mark.node] for name in NODE}
    params = [pytest.param(name, how, marks=marks.get(name, [])) for name, how in ways]
    return pytest.mark.parametrize(("name", "how"), params, scope="module")


in_every_way = _with(WAYS)
streamed = _with(way for way in WAYS if way[1] != "whole")
abortable = _with(way for way in WAYS if way[0] != "python-sync")
abortable_streams = _with(way for way in WAYS if way[0] != "python-sync" and way[1] != "whole")
once_each = pytest.mark.parametrize(
    "name",
    ["python", *(pytest.param(name, marks=pytest.mark.node) for name in NODE)],
    scope="module",
)


@pytest.fixture(scope="module")
async def client(name: str) -> AsyncIterator[Client]:
    if name == "python":
        yield PythonClient()
    elif name == "python-sync":
        yield SyncPythonClient()
    else:
        async with node_client(name) as client:
            yield client


@pytest.fixture(scope="module")
async def api() -> AsyncIterator[Upstream]:
    async with upstream() as api:
        yield api


@pytest.fixture(scope="module")
async def service(api: Upstream) -> AsyncIterator[Service]:
    async with serving(_settings(api), {}) as service:
        yield service


def _settings(api: Upstream, *, rescue: bool = True, origins: tuple[str, ...] = ()) -> Settings:
    return Settings(
        provider="openai",
        providers={
            "openai": _entry(api, attempts=1),
            "again": _entry(api, attempts=2),
            "hurried": _entry(api, attempts=1, first_token_seconds=1),
        },
        generations=GenerationSettings(rescue=rescue, keep_abandoned_seconds=300),
        stream=StreamSettings(ping_seconds=0.01),
        cors=CorsSettings(origins),
    )


def _entry(api: Upstream, **fields: Any) -> OpenAISettings:
    return OPENAI.entry(api.url, circuit_failures=0, backoff_seconds=0.01, **fields)


class _Made:
    """Counts generations and upstream calls since its creation, because tests share a service."""

    def __init__(self, api: Upstream, service: Service) -> None:
        self._api, self._service = api, service
        self._generations, self._calls = len(service.log), len(api.calls)

    @property
    def counts(self) -> tuple[int, int]:
        return len(self._service.log) - self._generations, len(self._api.calls) - self._calls

    async def call(self, number: int = 0) -> Call:
        """Wait for a further call."""
        return await self._api.call(self._calls + number)


@pytest.fixture
def made(api: Upstream, service: Service) -> _Made:
    return _Made(api, service)


async def _ask(
    client: Client, service: Service, how: How, body: Mapping[str, Any] = WITH_USAGE, **more: Any
) -> Report:
    if how == "whole":
        body = {name: body[name] for name in body if name != "stream_options"}
    question = Question(url=service.url, how=how, body=dict(body), **more)
    with anyio.fail_after(15):
        return await client.ask(question)


def _assert_is_answer(report: Report, text: str = ANSWER) -> None:
    assert report.error is None
    assert (report.text, report.finish_reason) == (text, "stop")


@in_every_way
@pytest.mark.promise("stream:word-by-word")
@pytest.mark.promise("alive:ping")
async def test_an_answer_is_complete_with_its_reasoning_and_usage(
    api: Upstream, service: Service, client: Client, how: How
) -> None:
    """Keepalives fill a silence before the first token, and another one between two tokens."""
    api.script((reasoning("Hm, "), PAUSE, reasoning("so."), PAUSE, text(*WORDS), PAUSE, finish()))
    report = await _ask(client, service, how)
    _assert_is_answer(report)
    assert (report.role, report.reasoning) == ("assistant", "Hm, so.")
    assert report.pieces == (1 if how == "whole" else len(WORDS))
    assert report.model == "gpt-test-1"  # as the upstream names it
    assert report.usage == {
        "prompt_tokens": 3,
        "completion_tokens": 5,
        "total_tokens": 8,
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    assert report.generation in {None, report.id}
    assert report.id.startswith("gen_")


@streamed
async def test_a_stream_has_usage_only_on_request(
    api: Upstream, service: Service, client: Client, how: How
) -> None:
    api.script((text(*WORDS), finish()))
    report = await _ask(client, service, how, ASKED)
    _assert_is_answer(report)
    assert report.usage is None


EARLY_ENDS: list[tuple[Script, str, str]] = [
    ((text("One "), finish("length")), "One ", "length"),
    ((text("One "), finish("content_filter")), "One ", "content_filter"),
    ((text("One "), finish("a new one")), "One ", "length"),
]


@in_every_way
async def test_an_answer_that_ends_early_says_why(
    api: Upstream, service: Service, client: Client, how: How
) -> None:
    """The finish reason says it, which the helper of openai-python turns into an exception."""
    exceptions = {
        "length": "LengthFinishReasonError",
        "content_filter": "ContentFilterFinishReasonError",
    }
    for script, said, reason in EARLY_ENDS:
        api.script(script)
        report = await _ask(client, service, how)
        assert (report.text, report.finish_reason) == (said, reason)
        if report.error is not None:
            assert report.error.kind == exceptions[reason]


FAILURES: list[tuple[Script, Failure]] = [
    (
        (status(400, {"error": {"code": "content_filter"}}),),
        Failure("BadRequestError", 400, "content_filter", "invalid_request_error"),
    ),
    (
        (status(402),),
        Failure("InternalServerError", 502, "provider_quota", "server_error"),
    ),
    (
        (status(307),),
        Failure("InternalServerError", 502, "provider_misconfigured", "server_error"),
    ),
    (
        (status(400),),
        Failure("BadRequestError", 400, "provider_refused", "invalid_request_error"),
    ),
    (
        (status(400, {"error": {"code": "context_length_exceeded"}}),),
        Failure("BadRequestError", 400, "context_length_exceeded", "invalid_request_error"),
    ),
    (
        (status(401),),
        Failure("InternalServerError", 502, "provider_auth", "server_error"),
    ),
    (
        (status(404),),
        Failure("NotFoundError", 404, "model_not_found", "invalid_request_error"),
    ),
    (
        (status(429),),
        Failure("RateLimitError", 429, "rate_limit_exceeded", "requests"),
    ),
    (
        (status(500),),
        Failure("InternalServerError", 503, "provider_unavailable", "server_error"),
    ),
    (
        (RESET,),
        Failure("InternalServerError", 503, "provider_unavailable", "server_error"),
    ),
    (
        (HOLD,),
        Failure("InternalServerError", 504, "provider_timeout", "server_error"),
    ),
]
"""The script of the upstream, and the exception of the client."""


def _without_words(failure: Failure | None) -> Failure | None:
    if failure is not None:
        assert failure.message
        failure.message = ""
    return failure


@in_every_way
@pytest.mark.promise("resume:never-regenerate")
async def test_a_failure_before_the_first_token_raises_by_its_status(
    api: Upstream, service: Service, client: Client, how: How
) -> None:
    """A header stops the client from retrying, as it does by default."""
    for script, failure in FAILURES:
        made = _Made(api, service)
        api.script(script)
        report = await _ask(client, service, how, {**ASKED, "model": "hurried"})
        assert _without_words(report.error) == failure
        # After a reset on a kept connection the service sends the request again, unnoticed.
        assert made.counts == (1, 2 if script == (RESET,) else 1)


@in_every_way
@pytest.mark.parametrize("end", [CLOSE, RESET], ids=["closed", "reset"])
@pytest.mark.promise("end:exactly-one")
@pytest.mark.promise("resume:never-regenerate")
async def test_a_cut_answer_never_ends_cleanly(
    api: Upstream, serve: Serve, client: Client, how: How, end: Step
) -> None:
    service = await serve(_settings(api, rescue=False))
    made = _Made(api, service)
    api.script((text("One "), PAUSE, end))
    report = await _ask(client, service, how)
    assert report.finish_reason is None
    if how == "whole":
        failure = Failure("InternalServerError", 502, "upstream_cut", "server_error")
    else:
        failure = Failure("APIError", None, "upstream_cut", "server_error")
        assert report.text == "One "
    assert _without_words(report.error) == failure
    assert made.counts == (1, 1)


@in_every_way
@pytest.mark.promise("end:exactly-one")
async def test_a_rescue_with_the_same_text_is_not_noticed(
    api: Upstream, service: Service, client: Client, how: How
) -> None:
    made = _Made(api, service)
    api.script((text(*WORDS[:2]), PAUSE, RESET), (PAUSE, text(*WORDS), finish()))
    report = await _ask(client, service, how, {**ASKED, "model": "again"})
    _assert_is_answer(report)
    assert made.counts == (1, 2)


@in_every_way
@pytest.mark.promise("end:exactly-one")
async def test_a_rescue_with_a_different_text_is_an_error_in_a_stream(
    api: Upstream, service: Service, client: Client, how: How
) -> None:
    """In one piece it is an ordinary answer."""
    made = _Made(api, service)
    asked = {**ASKED, "model": "again"}
    if how == "whole":
        api.script((text("Uno "), PAUSE, RESET), (text(*WORDS), finish()))
        _assert_is_answer(await _ask(client, service, how, asked))
        return
    api.script((text("Uno "), PAUSE, RESET), (text(*WORDS), HOLD))
    report = await _ask(client, service, how, asked)
    assert (report.text, report.finish_reason) == ("Uno ", None)
    assert _without_words(report.error) == Failure("APIError", None, "upstream_cut", "server_error")
    with anyio.fail_after(10):  # no viewer reads the different text
        await (await made.call(1)).closed.wait()


@abortable_streams
@pytest.mark.promise("cancel:disconnect")
async def test_leaving_in_mid_stream_closes_the_upstream(
    api: Upstream, service: Service, made: _Made, client: Client, how: How
) -> None:
    api.script((text(*WORDS), HOLD))
    report = await _ask(client, service, how, leave_after=2)
    assert report.text.startswith("".join(WORDS[:2]))
    with anyio.fail_after(10):
        await (await made.call()).closed.wait()
    assert made.counts == (1, 1)


@abortable
@pytest.mark.promise("cancel:disconnect")
async def test_aborting_before_the_first_token_closes_the_upstream(
    api: Upstream, service: Service, made: _Made, client: Client, how: How
) -> None:
    """The head is not sent yet, and neither are the words of an answer in one piece."""
    api.script((text("One "), HOLD) if how == "whole" else (HOLD,))
    abort = anyio.Event()
    question = Question(url=service.url, how=how, body=ASKED)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: client.ask(question, abort=abort))
            call = await made.call()
            await api.until(lambda: call.tokens >= (how == "whole"))
            abort.set()
            await call.closed.wait()
    assert made.counts == (1, 1)


@abortable
@pytest.mark.promise("cancel:stop")
@pytest.mark.promise("resume:never-regenerate")
async def test_a_stopped_answer_is_an_error_without_a_retry(
    api: Upstream, service: Service, made: _Made, client: Client, how: How
) -> None:
    api.script((HOLD,))
    reports = []

    async def ask() -> None:
        reports.append(await _ask(client, service, how))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await made.call()
            generation = [*service.directory.running_here][-1]
            await service.supervisor.stop(generation.id)
    assert _without_words(reports[0].error) == Failure("ConflictError", 409, "stopped", "stopped")
    assert made.counts == (1, 1)


REFUSALS: list[tuple[dict[str, Any], Failure]] = [
    ({"model": "gpt-5"}, Failure("NotFoundError", 404, "model_not_found", param="model")),
    ({"top_p": 1.5}, Failure("BadRequestError", 400, "invalid_field", param="top_p")),
    ({"tools": [{}]}, Failure("BadRequestError", 400, "invalid_field", param="tools[0].function")),
    ({"temperature": 3}, Failure("BadRequestError", 400, "invalid_field", param="temperature")),
    ({"top_k": 0}, Failure("BadRequestError", 400, "invalid_field", param="top_k")),
]


@once_each
@pytest.mark.promise("input:clear-error")
async def test_a_refusal_is_an_exception_that_names_the_parameter(
    service: Service, made: _Made, client: Client
) -> None:
    for change, failure in REFUSALS:
        failure.type = "invalid_request_error"
        report = await _ask(client, service, "whole", {**ASKED, **change})
        assert report.error is not None
        assert str(failure.param) in report.error.message
        assert _without_words(report.error) == failure
    foreign = {"Origin": "https://elsewhere.example"}
    report = await _ask(client, service, "whole", ASKED, headers=foreign)
    assert report.error is not None
    assert (report.error.kind, report.error.code) == ("PermissionDeniedError", "origin_refused")
    assert made.counts == (0, 0)


@once_each
@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("base", ["/", "/v1", "/api"])
async def test_the_exception_explains_a_wrong_base_url(
    service: Service, made: _Made, client: Client, base: str
) -> None:
    question = Question(url=f"{service.url}{base}", how="stream", body=ASKED)
    with anyio.fail_after(15):
        report = await client.ask(question)
    assert report.error is not None
    assert (report.error.kind, report.error.code) == ("NotFoundError", "not_found")
    why = "an extra slash, perhaps in base_url" if base == "/" else "base_url must end in /v1"
    assert why in report.error.message
    assert made.counts == (0, 0)


@once_each
@pytest.mark.promise("input:clear-error")
async def test_while_draining_the_client_gets_a_503(
    api: Upstream, serve: Serve, client: Client
) -> None:
    service = await serve(_settings(api))
    await service.supervisor.drain(0)
    report = await _ask(client, service, "stream", ASKED, retries=0)
    failure = Failure("InternalServerError", 503, "draining", "server_error")
    assert _without_words(report.error) == failure


@once_each
async def test_the_models_are_the_provider_entries(service: Service, client: Client) -> None:
    assert (await _ask(client, service, "list", {})).models == ["openai", "again", "hurried"]
    for name in ("again", "again/gpt-5.4"):
        assert (await _ask(client, service, "retrieve", {"model": name})).models == [name]
    report = await _ask(client, service, "retrieve", {"model": "gpt-5"})
    assert report.error is not None
    assert (report.error.kind, report.error.param) == ("NotFoundError", "model")


@once_each
@pytest.mark.promise("resume:never-regenerate")
async def test_the_same_key_leads_to_the_same_answer(
    api: Upstream, service: Service, made: _Made, client: Client
) -> None:
    """It does not matter whether the answer is streamed."""
    api.script((text(*WORDS), finish()))
    key = {"Idempotency-Key": f"for {type(client)} {id(client)}"}
    first = await _ask(client, service, "stream", headers=key)
    second = await _ask(client, service, "whole", headers=key)
    _assert_is_answer(first)
    _assert_is_answer(second)
    assert first.id == second.id
    assert made.counts == (1, 1)


@_with((name, how) for name, how in WAYS if name in NODE and how != "whole")
async def test_cors_allows_all_headers_of_the_client(
    api: Upstream, serve: Serve, client: Client, how: How
) -> None:
    """A page of another origin may send every header that the client sends to an API."""
    page = "https://page.example"
    service = await serve(_settings(api, origins=(page,)))
    api.script((EMPTY, text(*WORDS), finish()))
    with anyio.fail_after(15):
        report = await client.ask(Question(url=api.url, how=how, body=ASKED))
    _assert_is_answer(report)
    call = api.calls[-1]
    own = {name for name in call.headers if name.startswith(("authorization", "x-", "openai-"))}
    assert "x-stainless-lang" in own
    answer = await service.client.options(
        "/v1/chat/completions",
        headers={
            "Origin": page,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": ", ".join(sorted({*own, "content-type"})),
        },
    )
    assert answer.status_code == 200
