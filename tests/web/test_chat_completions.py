"""OpenAI's endpoints, byte for byte: heads, frames, what is refused and by which name."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import anyio
import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from typing_extensions import get_type_hints

from conftest import Serve
from streamsvc.config.settings import (
    FakeSettings,
    GenerationSettings,
    LimitSettings,
    OpenAISettings,
    ServerSettings,
    Settings,
    StreamSettings,
)
from support.eventstream import Answer, view
from support.service import Service, serving
from support.upstreams import (
    GEMINI,
    HOLD,
    OPENAI,
    Script,
    Upstream,
    Wire,
    finish,
    frame,
    raw,
    status,
    text,
    until,
    upstream,
)

CREATE = "/v1/chat/completions"
HURRIED = FakeSettings(words_per_second=0, first_word_seconds=0, text="One two three.")
TURN = {"role": "user", "content": "hi"}
ASKED = {"model": "fake", "messages": [TURN]}
BLOCKS = re.compile(rb"(?:(?:: ka\n)*data: [^\r\n]+\n\n)+")
"""Nothing but data and lone comments: no id, no name, no reconnection time."""


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[Service]:
    """Give a service with small bounds; shared, because nothing that it is sent may change it."""
    keyless = OpenAISettings(model="gpt-test", api_key_env="NO_SUCH_KEY")
    settings = Settings(
        providers={"fake": HURRIED, "a/b": HURRIED, "keyless": keyless},
        limits=LimitSettings(max_body_bytes=20_000, max_prompt_chars=1000),
    )
    async with serving(settings, {}) as service:
        yield service


@pytest.fixture
async def api() -> AsyncIterator[Upstream]:
    async with upstream() as api:
        yield api


def _settings(api: Upstream, **stream: Any) -> Settings:
    """Return settings in which `fake` is the scripted upstream."""
    entry = OPENAI.entry(api.url, attempts=1)
    return Settings(providers={"fake": entry}, stream=StreamSettings(**stream))


async def _post(
    service: Service, body: object, headers: Mapping[str, str] | None = None, target: str = CREATE
) -> tuple[Answer, Any]:
    """Ask, and read the answer to its end; JSON where it is some."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with anyio.fail_after(10):
        async with view(service.port, target, method="POST", headers=headers, body=raw) as answer:
            content = await answer.body()
    is_json = answer.headers["content-type"] == "application/json"
    return answer, json.loads(content) if is_json else content


def _assert_is_error(
    answer: Answer, body: Any, status: int, param: str | None, code: str = "invalid_field"
) -> None:
    assert body["error"].keys() == {"message", "type", "param", "code"}
    assert (answer.status, body["error"]["param"], body["error"]["code"]) == (status, param, code)
    assert body["error"]["message"][0].isupper()
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"


def _chunks(raw: bytes) -> list[Any]:
    lines = [line for line in raw.decode().split("\n") if line.startswith("data: {")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


# The stream


@pytest.mark.promise("alive:ping")
async def test_a_stream_is_data_and_lone_comments_and_nothing_else(
    api: Upstream, serve: Serve
) -> None:
    service = await serve(_settings(api, ping_seconds=0.01))
    go_on = anyio.Event()
    api.script((text("One "), until(go_on), text("two"), finish()))
    body = json.dumps({**ASKED, "stream": True}).encode()
    with anyio.fail_after(10):
        async with view(service.port, CREATE, method="POST", body=body) as answer:
            await answer.raw_until(b": ka\n: ka\n")
            go_on.set()
            raw = await answer.body()
    assert answer.status == 200
    generation = answer.headers["x-generation-id"]
    headers = {name: answer.headers[name] for name in answer.headers.keys() - {"date", "server"}}
    assert headers == {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-store, no-transform",
        "x-accel-buffering": "no",
        "x-generation-id": generation,
        "connection": "keep-alive",
        "transfer-encoding": "chunked",
    }
    assert BLOCKS.fullmatch(raw)
    assert raw.endswith(b"data: [DONE]\n\n")
    assert {chunk["id"] for chunk in _chunks(raw)} == {generation}


@pytest.mark.promise("alive:ping")
@pytest.mark.promise("end:exactly-one")
async def test_the_head_waits_for_the_first_token_but_not_for_long(
    api: Upstream, serve: Serve
) -> None:
    """Then it goes out, keepalives begin, and a failure is said in the stream."""
    service = await serve(_settings(api, head_seconds=0.05, ping_seconds=0.01))
    fail = anyio.Event()
    api.script((until(fail), status(500)))
    body = json.dumps({**ASKED, "stream": True}).encode()
    with anyio.fail_after(10):
        async with view(service.port, CREATE, method="POST", body=body) as answer:
            assert answer.status == 200
            await answer.raw_until(b": ka\n")
            fail.set()
            raw = await answer.body()
    assert BLOCKS.fullmatch(raw)
    start, error = _chunks(raw)
    assert start["choices"][0]["delta"]["role"] == "assistant"
    assert error["error"]["code"] == "provider_unavailable"
    assert raw.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_before_the_first_token_has_the_id_of_its_generation(
    api: Upstream, serve: Serve, *, stream: bool
) -> None:
    """So that an operator finds it in the log."""
    service = await serve(_settings(api))
    api.script((status(401),))
    answer, body = await _post(service, {**ASKED, "stream": stream})
    _assert_is_error(answer, body, 502, None, "provider_auth")
    assert answer.headers["x-should-retry"] == "false"
    generation = answer.headers["x-generation-id"]
    snapshot = (await service.client.get(f"/v1/generations/{generation}")).json()
    assert snapshot["error"]["code"] == "provider_auth"


BLOCKED = raw(frame({"promptFeedback": {"blockReason": "SAFETY"}}))


@pytest.mark.promise("provider:swap")
@pytest.mark.parametrize(
    ("wire", "script"),
    [
        (OPENAI, (status(400, {"error": {"code": "content_filter"}}),)),
        (OPENAI, (raw(frame({"error": {"code": "content_filter"}})),)),
        (GEMINI, (BLOCKED,)),
    ],
    ids=["openai", "openai in the stream", "gemini"],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_refused_prompt_is_an_error_with_status_400(
    api: Upstream, serve: Serve, wire: Wire, script: Script, *, stream: bool
) -> None:
    """As OpenAI and Azure answer it; natively it is an end of the answer that says why."""
    service = await serve(Settings(providers={"fake": wire.entry(api.url, attempts=1)}))
    api.script(script)
    answer, body = await _post(service, {**ASKED, "stream": stream})
    _assert_is_error(answer, body, 400, None, "content_filter")
    assert body["error"]["type"] == "invalid_request_error"
    generation = answer.headers["x-generation-id"]
    snapshot = (await service.client.get(f"/v1/generations/{generation}")).json()
    assert (snapshot["status"], snapshot["finish_reason"]) == ("incomplete", "content_filter")
    assert snapshot["error"]["code"] == "content_filter"
    assert len(api.calls) == 1


async def test_a_refused_prompt_is_an_error_in_the_stream_once_the_head_is_out(
    api: Upstream, serve: Serve
) -> None:
    service = await serve(_settings(api, head_seconds=0.0, ping_seconds=60))
    refuse = anyio.Event()
    api.script((until(refuse), status(400, {"error": {"code": "content_filter"}})))
    body = json.dumps({**ASKED, "stream": True}).encode()
    with anyio.fail_after(10):
        async with view(service.port, CREATE, method="POST", body=body) as answer:
            assert answer.status == 200
            await answer.raw_until(b"assistant")
            refuse.set()
            rest = await answer.body()
    assert _chunks(rest)[-1]["error"]["code"] == "content_filter"
    assert rest.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("said", [(), ("One ",)], ids=["before a word", "in its middle"])
async def test_an_answer_that_a_filter_ends_is_not_an_error(
    api: Upstream, serve: Serve, said: tuple[str, ...], *, stream: bool
) -> None:
    """It has a finish reason, as with OpenAI."""
    service = await serve(_settings(api))
    api.script((text(*said), finish("content_filter")))
    answer, body = await _post(service, {**ASKED, "stream": stream})
    assert answer.status == 200
    end = _chunks(body)[-1] if stream else body
    assert end["choices"][0]["finish_reason"] == "content_filter"


@pytest.mark.promise("stream:word-by-word")
async def test_the_head_comes_with_the_first_token(api: Upstream, serve: Serve) -> None:
    service = await serve(_settings(api, head_seconds=60))
    api.script((text("One "), HOLD))
    body = json.dumps({**ASKED, "stream": True}).encode()
    with anyio.fail_after(10):
        async with view(service.port, CREATE, method="POST", body=body) as answer:
            await answer.raw_until(b"One ")


@pytest.mark.promise("cancel:disconnect")
@pytest.mark.parametrize("head_seconds", [0.0, 60.0])
@pytest.mark.parametrize("stream", [False, True])
async def test_leaving_before_the_first_token_closes_the_upstream_at_once(
    api: Upstream, serve: Serve, head_seconds: float, *, stream: bool
) -> None:
    """Whether or not the head is out."""
    service = await serve(_settings(api, head_seconds=head_seconds))
    api.script((HOLD,))
    body = json.dumps({**ASKED, "stream": stream}).encode()

    async def ask() -> None:
        async with view(service.port, CREATE, method="POST", body=body):
            await anyio.sleep_forever()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            call = await api.call()
            assert service.supervisor.running == 1
            tasks.cancel_scope.cancel()
        await call.closed.wait()


@pytest.mark.promise("resume:no-gap")
async def test_who_knows_the_id_goes_on_natively(api: Upstream, serve: Serve) -> None:
    """With a grace of its own, as the field says."""
    service = await serve(_settings(api))
    go_on = anyio.Event()
    api.script((text("One "), until(go_on), text("two"), finish()))
    body = json.dumps({**ASKED, "stream": True, "grace_seconds": 20}).encode()
    with anyio.fail_after(10):
        async with view(service.port, CREATE, method="POST", body=body) as answer:
            await answer.raw_until(b"One ")
        generation = answer.headers["x-generation-id"]
        go_on.set()
        async with view(service.port, f"/v1/generations/{generation}/events") as back:
            events = [event.json for event in await back.events()]
    assert "".join(event["text"] for event in events if event["type"] == "text") == "One two"
    assert events[-1]["status"] == "completed"
    assert len(api.calls) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_is_not_kept_is_not_lost_on_who_waits_for_it(
    serve: Serve, *, stream: bool
) -> None:
    """It is whole, or it is an error; nothing crashes."""
    kept = GenerationSettings(keep_finished_seconds=0, keep_abandoned_seconds=0, keep_count=1)
    service = await serve(Settings(providers={"fake": HURRIED}, generations=kept))
    answer, body = await _post(service, {**ASKED, "stream": stream})
    if answer.status == 200 and not stream:
        assert body["choices"][0]["message"]["content"] == "One two three."
    elif stream:
        assert body.endswith(b"data: [DONE]\n\n")
        assert b'"stop"' in body or b"not_resumable" in body
    else:
        _assert_is_error(answer, body, 502, None, "not_resumable")


# The request

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "model"),
    ({"model": ""}, "model"),
    ({"model": 7}, "model"),
    ({"model": "fake/"}, "model"),
    ({"model": "fake/../../v1/files"}, "model"),
    ({"model": "fake/a//b"}, "model"),
    ({"model": "fake/a?key=b"}, "model"),
    ({"model": "fake/a b"}, "model"),
    ({"model": "fake/a\n"}, "model"),
    ({"model": "fake/%2e%2e"}, "model"),
    ({"model": "fake/" + "a" * 257}, "model"),
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": ["hi"]}, "messages[0]"),
    ({"messages": [{"role": "system", "content": "Be brief."}]}, "messages"),
    ({"messages": [TURN, {"content": "hi"}]}, "messages[1].role"),
    ({"messages": [TURN, {"role": ["user"], "content": "hi"}]}, "messages[1].role"),
    ({"messages": [TURN, {"role": "tool", "content": "7", "tool_call_id": "a"}]}, "messages[1].role"),
    ({"messages": [{"role": "function", "content": "7", "name": "a"}]}, "messages[0].role"),
    ({"messages": [{"role": "assistant", "content": None, "tool_calls": [{}]}]}, "messages[0].tool_calls"),
    ({"messages": [{"role": "assistant", "refusal": "No."}]}, "messages[0].refusal"),
    ({"messages": [{**TURN, "name": "Ada"}]}, "messages[0].name"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    ({"messages": [{"role": "assistant", "content": "hi"}]}, "messages"),
    ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": ""}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": ["hi"]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a"}}]}]},
        "messages[0].content[0]",
    ),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
    ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ({"stream_options": []}, "stream_options"),
    ({"temperature": 2.1}, "temperature"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens"),
    ({"stop": ["a"] * 5}, "stop"),
    ({"seed": 2**63}, "seed"),
    ({"metadata": {"a": 1}}, "metadata[...]"),
    ({"grace_seconds": 100_000}, "grace_seconds"),
    ({"fault": "cut"}, "fault"),
    ({"n": 2}, "n"),
    ({"top_p": 0.5}, "top_p"),
    ({"tools": [{"type": "function"}]}, "tools"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"reasoning_effort": "low"}, "reasoning_effort"),
    ({"logprobs": True}, "logprobs"),
    ({"store": True}, "store"),
    ({"audio": {}}, "audio"),
    ({"web_search_options": {}}, "web_search_options"),
    ({"top_k": 3}, "top_k"),
    ({"provider": "fake"}, "provider"),
    ({"provider": {"order": ["a"]}}, "provider"),
    ({"prompt": "hi"}, "prompt"),
    ({"max_completion_tokens": 0}, "max_completion_tokens"),
    ({"max_completion_tokens": "7"}, "max_completion_tokens"),
]  # fmt: skip


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(("change", "param"), REFUSED)
async def test_what_cannot_be_done_is_refused_by_name(
    service: Service, change: dict[str, Any], param: str
) -> None:
    before = len(service.log)
    answer, body = await _post(service, {**ASKED, **change})
    _assert_is_error(answer, body, 400, param)
    assert param.rpartition(".")[2] in body["error"]["message"]  # the SDKs show nothing else
    assert len(service.log) == before


HARMLESS = {
    "frequency_penalty": 0,
    "logit_bias": {},
    "logprobs": False,
    "modalities": ["text"],
    "n": 1,
    "parallel_tool_calls": True,
    "presence_penalty": 0.0,
    "prompt_cache_key": "a",
    "response_format": {"type": "text"},
    "safety_identifier": "a",
    "service_tier": "auto",
    "store": False,
    "stream_options": {"include_obfuscation": False},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "user": "a",
}


async def test_what_is_harmless_is_taken(service: Service) -> None:
    answer, body = await _post(service, {**ASKED, **HARMLESS})
    assert (answer.status, body["choices"][0]["message"]["content"]) == (200, "One two three.")


async def test_null_was_not_given(service: Service) -> None:
    """For each of the parameters that openai-python knows."""
    nulls = dict.fromkeys(get_type_hints(CompletionCreateParamsBase), None)
    message = {**TURN, "name": None, "tool_calls": None, "refusal": None, "audio": None}
    answer, body = await _post(service, {**nulls, "stream": None, **ASKED, "messages": [message]})
    assert (answer.status, body["choices"][0]["finish_reason"]) == (200, "stop")


async def test_messages_go_upstream_as_they_are_meant(api: Upstream, serve: Serve) -> None:
    service = await serve(_settings(api))
    api.script((text("One"), finish()))
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]},
        TURN,
        {"role": "assistant", "content": "Yes?", "refusal": None, "reasoning_content": "Hm.", "annotations": []},
        {"role": "user", "content": [{"type": "text", "text": "Go on."}]},
    ]  # fmt: skip
    more = {"max_completion_tokens": 7, "stop": "x", "seed": 3, "temperature": 0.5}
    answer, _ = await _post(service, {**ASKED, "messages": messages, **more})
    assert answer.status == 200
    (call,) = api.calls
    assert call.body["messages"] == [
        {"role": "system", "content": "Be\nbrief."},
        TURN,
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Go on."},
    ]
    sent = {
        name: call.body[name] for name in ("max_completion_tokens", "stop", "seed", "temperature")
    }
    assert sent == {**more, "stop": ["x"]}


# The model


async def test_a_model_behind_the_entry_goes_upstream(api: Upstream, serve: Serve) -> None:
    service = await serve(_settings(api))
    api.script((text("One"), finish()))
    await _post(service, {**ASKED, "model": "fake/meta-llama/llama-3:free"})
    await _post(service, ASKED)
    assert [call.body["model"] for call in api.calls] == ["meta-llama/llama-3:free", "gpt-test"]


async def test_an_entry_whose_name_has_a_slash_is_an_entry(service: Service) -> None:
    answer, _ = await _post(service, {**ASKED, "model": "a/b"})
    assert answer.status == 200


async def test_chunks_name_the_model_that_is_asked(serve: Serve) -> None:
    service = await serve(Settings(providers={"fake": HURRIED}))
    _, raw = await _post(service, {**ASKED, "model": "fake/other", "stream": True})
    assert {chunk["model"] for chunk in _chunks(raw)} == {"other"}


async def test_a_fallback_is_asked_for_its_own_model(api: Upstream, serve: Serve) -> None:
    first = OPENAI.entry(api.url, attempts=1, fallbacks=("other",))
    other = OPENAI.entry(api.url, model="its-own")
    service = await serve(Settings(providers={"fake": first, "other": other}))
    api.script((status(500),), (text("One"), finish()))
    await _post(service, {**ASKED, "model": "fake/overridden"})
    assert [call.body["model"] for call in api.calls] == ["overridden", "its-own"]


async def test_models_that_do_not_exist_do_not_open_the_circuit(
    api: Upstream, serve: Serve
) -> None:
    """Or one client could switch an entry off for all."""
    service = await serve(_settings(api))
    api.script((status(404),))
    for _ in range(5):
        answer, _ = await _post(service, {**ASKED, "model": "fake/none"})
        assert answer.status == 404
    (entry,) = service.supervisor.entries
    assert entry.circuit.state == "closed"


# What is wrong with a request


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("method", "target", "body", "expected"),
    [
        ("GET", CREATE, None, (405, None, "method_not_allowed")),
        ("DELETE", f"{CREATE}/abc", None, (404, None, "not_found")),
        ("GET", "/v1/chat/nothing", None, (404, None, "not_found")),
        ("POST", "/v1/models", b"{}", (405, None, "method_not_allowed")),
        ("GET", "/v1/models/none", None, (404, "model", "model_not_found")),
        ("GET", "/v1/models/keyless", None, (404, "model", "model_not_found")),
        ("POST", CREATE, b"{", (400, None, "malformed_request")),
        ("POST", CREATE, b"[]", (400, "body", "invalid_field")),
        ("POST", CREATE, b"x" * 20_001, (413, None, "too_large")),
        ("POST", f"{CREATE}?stream=true", b"{}", (400, "stream", "invalid_field")),
        ("POST", CREATE, b'{"model": "no", "messages": []}', (404, "model", "model_not_found")),
    ],
)  # fmt: skip
async def test_errors_below_these_addresses_are_objects_of_openai(
    service: Service,
    method: str,
    target: str,
    body: bytes | None,
    expected: tuple[int, str | None, str],
) -> None:
    with anyio.fail_after(10):
        async with view(service.port, target, method=method, body=body) as answer:
            _assert_is_error(answer, await answer.json(), *expected)
    assert answer.headers["x-should-retry"] == "false"


async def test_errors_elsewhere_are_problem_details(service: Service) -> None:
    for target in ("/v1/generations", "/v1/nothing", "/"):
        async with view(service.port, target, method="DELETE") as answer:
            assert answer.headers["content-type"] == "application/problem+json"


async def test_the_shape_of_errors_is_found_behind_a_proxy_that_takes_a_path_off(
    serve: Serve,
) -> None:
    service = await serve(Settings(server=ServerSettings(root_path="/llm")))
    answer, body = await _post(service, b"{")
    _assert_is_error(answer, body, 400, None, "malformed_request")


async def test_what_is_too_long_is_413(service: Service) -> None:
    long = {"role": "user", "content": "x" * 1001}
    answer, body = await _post(service, {**ASKED, "messages": [long]})
    _assert_is_error(answer, body, 413, "messages", "too_large")


async def test_an_entry_without_its_key_is_no_model_and_not_ready(service: Service) -> None:
    answer, body = await _post(service, {**ASKED, "model": "keyless"})
    _assert_is_error(answer, body, 503, "model", "provider_not_ready")
    assert answer.headers["x-should-retry"] == "false"
    models = (await service.client.get("/v1/models")).json()
    assert models == {
        "object": "list",
        "data": [
            {"id": name, "object": "model", "created": 0, "owned_by": "fake"}
            for name in ("fake", "a/b")
        ],
    }


@pytest.mark.promise("input:clear-error")
async def test_at_a_limit_the_answer_says_when_to_come_again(api: Upstream, serve: Serve) -> None:
    """Nothing has been begun, so the client's own repetition is welcome."""
    entry = OPENAI.entry(api.url, max_generations=1)
    service = await serve(Settings(providers={"fake": entry}))
    api.script((text("One "), HOLD))
    body = json.dumps({**ASKED, "stream": True}).encode()
    async with view(service.port, CREATE, method="POST", body=body) as running:
        await running.raw_until(b"One ")
        answer, error = await _post(service, ASKED)
    _assert_is_error(answer, error, 503, None, "overloaded")
    assert (answer.headers["retry-after"], answer.headers["x-should-retry"]) == ("2", "true")


@pytest.mark.promise("resume:never-regenerate")
async def test_a_key_that_stood_for_another_question_is_refused(serve: Serve) -> None:
    service = await serve(Settings(providers={"fake": HURRIED}))
    key = {"Idempotency-Key": "one"}
    first, _ = await _post(service, ASKED, key)
    second, _ = await _post(service, ASKED, key)
    assert first.headers["x-generation-id"] == second.headers["x-generation-id"]
    answer, body = await _post(service, {**ASKED, "seed": 1}, key)
    _assert_is_error(answer, body, 400, "Idempotency-Key")


@pytest.mark.promise("input:clear-error")
async def test_a_key_in_the_address_is_refused_by_its_name_there(serve: Serve) -> None:
    service = await serve(Settings(providers={"fake": HURRIED}))
    await _post(service, ASKED, target=f"{CREATE}?key=one")
    answer, body = await _post(service, {**ASKED, "seed": 1}, target=f"{CREATE}?key=one")
    _assert_is_error(answer, body, 400, "key")
    assert "'key'" in body["error"]["message"]


async def test_a_mistake_of_ours_is_an_object_of_openai(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await serve(Settings(providers={"fake": HURRIED}))

    def crash(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(service.supervisor, "check_viewers", crash)
    answer, body = await _post(service, ASKED)
    _assert_is_error(answer, body, 500, None, "internal_error")
