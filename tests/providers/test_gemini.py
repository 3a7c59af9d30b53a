"""The Gemini adapter against the google-genai SDK: what is sent, and what the answers mean.

What all providers have in common is tried in `conformance`; here is what only this API has.
"""

import gc
import inspect
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import msgspec
import pytest
import respx
from google.genai import _api_client
from google.genai import errors as sdk_errors

from streamsvc.config.provider_settings import GeminiSettings
from streamsvc.events import Reasoning, Text, Usage
from streamsvc.messages import AssistantMessage, ImagePart, Prompt, UserMessage
from streamsvc.provider_errors import (
    ProviderAuthFailed,
    ProviderError,
    ProviderTimedOut,
    ProviderUnavailable,
    UpstreamCut,
    UpstreamInvalid,
)
from streamsvc.providers import answer as answer_module
from streamsvc.providers.base import Finish, Provider
from streamsvc.providers.gemini import models
from streamsvc.providers.gemini import provider as adapter
from support.answering import Piece, answering
from support.upstreams import (
    CLOSE,
    GEMINI,
    HOLD,
    RESET,
    USAGE,
    Step,
    finish,
    frame,
    raw,
    text,
    until,
    upstream,
)

URL = "http://gemini.test"
PROMPT = Prompt(messages=(UserMessage("Say it."),))
STOP = GEMINI.finish("stop", USAGE)


pytestmark = pytest.mark.usefixtures("no_certificates")


@pytest.fixture
def api() -> Iterator[respx.Route]:
    """Mock the only endpoint, without a network."""
    with respx.mock(base_url=URL, using="httpx") as router:
        yield router.post("/v1/models/gemini-test:streamGenerateContent", params={"alt": "sse"})


@asynccontextmanager
async def opened(*, key: str = "", **fields: Any) -> AsyncIterator[Provider]:
    settings = GeminiSettings(**{"model": "gemini-test", "base_url": URL, **fields})
    async with adapter.open_provider(settings, key) as provider:
        yield provider


def stream(*frames: bytes) -> Any:
    return httpx2.Response(200, content=b"".join(frames))


def chunk(**fields: Any) -> bytes:
    return frame({"modelVersion": "gemini-test-1", **fields}, end=b"\r\n\r\n")


def parts(*of_it: dict[str, Any]) -> bytes:
    return GEMINI.candidate(content={"role": "model", "parts": list(of_it)})


async def gather(provider: Provider, prompt: Prompt = PROMPT) -> list[Piece]:
    with anyio.fail_after(10):
        async with answering(provider, prompt) as deltas:
            return [delta async for delta in deltas]


async def ask(prompt: Prompt = PROMPT, *, key: str = "", **fields: Any) -> list[Piece]:
    async with opened(key=key, **fields) as provider:
        return await gather(provider, prompt)


def sent(api: respx.Route) -> Any:
    return msgspec.json.decode(api.calls.last.request.content)


# Where it is sent


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("", "/v1/models/"),
        ("/", "/v1/models/"),
        ("/v1", "/v1/models/"),
        ("/v1beta", "/v1beta/models/"),
        ("/v1beta/", "/v1beta/models/"),
        ("/v1alpha", "/v1alpha/models/"),
        ("/v1beta1", "/v1beta1/models/"),
        ("/gemini/v1beta", "/gemini/v1beta/models/"),
        ("/gemini", "/gemini/v1/models/"),
        ("/voice", "/voice/v1/models/"),
    ],
)
async def test_base_url_may_end_in_a_version(
    monkeypatch: pytest.MonkeyPatch, path: str, asked: str
) -> None:
    """The version appears once, whatever the environment sets for the SDK."""
    monkeypatch.setenv("GOOGLE_GENAI_API_VERSION", "v7")
    async with upstream(text("One"), finish()) as api:
        await ask(base_url=f"{api.url}{path}")
    assert [call.path for call in api.calls] == [
        f"{asked}gemini-test:streamGenerateContent?alt=sse"
    ]


def test_default_version_is_the_sdks() -> None:
    assert models.address("https://api.test") == (
        "https://api.test",
        _api_client.GOOGLE_AI_API_DEFAULT_VERSION,
    )


# What is sent


@pytest.mark.promise("provider:swap")
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, {}),
        ({"temperature": 0.0}, {"temperature": 0.0}),
        ({"stop": ("a", "b")}, {"stopSequences": ["a", "b"]}),
        ({"seed": 0}, {"seed": 0}),
        ({"max_tokens": 7}, {"maxOutputTokens": 7}),
    ],
    ids=["nothing", "temperature", "stop", "seed", "max tokens"],
)
async def test_parameter_is_sent_under_its_name_only_if_given(
    api: respx.Route, asked: dict[str, Any], expected: dict[str, Any]
) -> None:
    api.mock(return_value=stream(STOP))
    await ask(msgspec.structs.replace(PROMPT, **asked), include_thoughts=False)
    body = sent(api)
    assert body.pop("generationConfig", {}) == expected
    assert body == {"contents": [{"role": "user", "parts": [{"text": "Say it."}]}]}


async def test_request_without_tools_is_sent_to_the_letter(api: respx.Route) -> None:
    api.mock(return_value=stream(STOP))
    turns = UserMessage("One?"), AssistantMessage("Two."), UserMessage("Three?")
    await ask(Prompt(messages=turns, system="Be brief.", temperature=1.0, stop=("a",), seed=3))
    assert api.calls.last.request.content == (
        b'{"contents": [{"parts": [{"text": "One?"}], "role": "user"}, '
        b'{"parts": [{"text": "Two."}], "role": "model"}, '
        b'{"parts": [{"text": "Three?"}], "role": "user"}], '
        b'"systemInstruction": {"parts": [{"text": "Be brief."}], "role": "user"}, '
        b'"generationConfig": {"temperature": 1.0, "stopSequences": ["a"], "seed": 3, '
        b'"thinkingConfig": {"include_thoughts": true}}}'
    )


async def test_system_text_is_sent_apart_from_the_turns(api: respx.Route) -> None:
    api.mock(return_value=stream(STOP))
    await ask(msgspec.structs.replace(PROMPT, system="Be brief."))
    assert sent(api)["systemInstruction"]["parts"] == [{"text": "Be brief."}]
    assert len(sent(api)["contents"]) == 1


async def test_assistant_is_called_model(api: respx.Route) -> None:
    api.mock(return_value=stream(STOP))
    turns = UserMessage("One?"), AssistantMessage("Two."), UserMessage("Three? 🙂")
    await ask(Prompt(messages=turns))
    assert [(it["role"], it["parts"][0]["text"]) for it in sent(api)["contents"]] == [
        ("user", "One?"),
        ("model", "Two."),
        ("user", "Three? 🙂"),
    ]


async def test_thoughts_are_requested_as_configured(api: respx.Route) -> None:
    api.mock(return_value=stream(STOP))
    await ask(include_thoughts=True)
    [(name, value)] = sent(api)["generationConfig"]["thinkingConfig"].items()
    assert (name.replace("_", "").lower(), value) == ("includethoughts", True)
    await ask(include_thoughts=False)
    assert "thinkingConfig" not in sent(api).get("generationConfig", {})


@pytest.mark.promise("secret:kept")
async def test_environment_does_not_reach_the_upstream(
    api: respx.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No key, address or way to sign in comes from it."""
    for name in (
        "GOOGLE_API_KEY",
        "GEMINI_API_KEY",
        "GOOGLE_CLOUD_PROJECT",
        "GOOGLE_CLOUD_LOCATION",
    ):
        monkeypatch.setenv(name, "leak")
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    monkeypatch.setenv("GOOGLE_GENAI_USE_ENTERPRISE", "true")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "http://leak.test")
    api.mock(return_value=stream(STOP))
    await ask()
    request = api.calls.last.request
    assert "leak" not in f"{request.url} {request.headers!r} {request.content!r}".lower()
    assert request.headers["x-goog-api-key"] == "none-needed"


async def test_key_is_sent_in_a_header_and_never_in_the_url(
    api: respx.Route,
) -> None:
    """Intermediaries write URLs to their logs."""
    api.mock(return_value=stream(STOP))
    await ask(key="mine")
    request = api.calls.last.request
    assert request.headers["x-goog-api-key"] == "mine"
    assert request.headers["Accept-Encoding"] == "identity"
    assert request.url.query == b"alt=sse"


async def test_connect_deadline_is_the_only_client_timeout(api: respx.Route) -> None:
    """With each request the SDK passes a timeout that disables all timeouts."""
    api.mock(return_value=stream(STOP))
    await ask(connect_seconds=1.5)
    timeouts = api.calls.last.request.extensions["timeout"]
    assert timeouts == {"connect": 1.5, "read": None, "write": None, "pool": None}


# Errors


async def test_every_error_of_the_sdk_is_mapped(api: respx.Route) -> None:
    """The test covers all of the SDK's classes, so a new one fails here and not at a viewer."""
    classes = {it for it in vars(sdk_errors).values() if inspect.isclass(it)}
    raised = {it for it in classes if issubclass(it, Exception) and not issubclass(it, Warning)}
    api_errors = {it for it in raised if issubclass(it, sdk_errors.APIError)}
    assert {it.__name__ for it in api_errors} == {"APIError", "ClientError", "ServerError"}
    # The rest concerns functions and continuations, which are off, and unreadable responses.
    others = {it for it in raised - api_errors if not issubclass(it, ValueError)}
    assert {it.__name__ for it in others} == {"ContinuationInterruptedError"}
    for kind in raised - api_errors - others:
        api.mock(side_effect=kind.__new__(kind))
        with pytest.raises(UpstreamInvalid):
            await ask()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (httpx2.ConnectError, ProviderUnavailable),
        (httpx2.ConnectTimeout, ProviderTimedOut),
        (httpx2.PoolTimeout, ProviderTimedOut),
        (httpx2.ReadError, ProviderUnavailable),
        (httpx2.ReadTimeout, ProviderUnavailable),
        (httpx2.WriteError, ProviderUnavailable),
        (httpx2.RemoteProtocolError, ProviderUnavailable),
        (httpx2.ProxyError, ProviderUnavailable),
        (httpx2.DecodingError, UpstreamInvalid),
    ],
)
async def test_every_httpx_error_is_mapped(
    api: respx.Route, kind: type[httpx2.RequestError], expected: type[ProviderError]
) -> None:
    api.mock(side_effect=kind("secret"))
    with pytest.raises(ProviderError) as caught:
        await ask()
    assert type(caught.value) is expected
    assert "secret" not in str(caught.value)


async def test_refused_key_differs_from_other_bad_requests(api: respx.Route) -> None:
    """Gemini answers 400 to a bad key; the reason is in the details."""
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
    error = {"code": 400, "message": "API key not valid.", "details": details}
    refused: Any = httpx2.Response(400, json={"error": error})
    api.mock(return_value=refused)
    with pytest.raises(ProviderAuthFailed):
        await ask()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"message": "no"}, ProviderError),
        ({"code": "503"}, ProviderUnavailable),
        ("no", ProviderError),
        ({"code": 400, "details": [{"reason": "API_KEY_INVALID"}]}, ProviderAuthFailed),
    ],
    ids=repr,
)
@pytest.mark.promise("end:exactly-one")
async def test_error_instead_of_a_chunk_ends_the_answer(
    api: respx.Route, error: object, expected: type[ProviderError]
) -> None:
    api.mock(return_value=stream(GEMINI.token("One "), frame({"error": error}), STOP))
    async with opened() as provider, answering(provider, PROMPT) as deltas:
        assert await anext(deltas) == Text("One ")
        with pytest.raises(ProviderError) as caught:
            await anext(deltas)
    assert type(caught.value) is expected


# How an answer ends


def _ends(word: str, usage: Usage | None = None, *, reason: Any = "stop") -> Finish:
    return Finish(reason=reason, provider_reason=word, model="gemini-test-1", usage=usage)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("LANGUAGE", "other"),
    ],
)
async def test_finish_reason_is_mapped_and_kept(api: respx.Route, word: str, reason: str) -> None:
    api.mock(return_value=stream(GEMINI.candidate(finishReason=word)))
    assert await ask() == [_ends(word, reason=reason)]


@pytest.mark.promise("provider:swap")
async def test_blocked_prompt_ends_without_a_word_or_failure(api: respx.Route) -> None:
    counted = {"promptTokenCount": 4}
    blocked = chunk(promptFeedback={"blockReason": "JAILBREAK"}, usageMetadata=counted)
    api.mock(return_value=stream(blocked))
    usage = Usage(input_tokens=4, output_tokens=0)
    refused = msgspec.structs.replace(
        _ends("JAILBREAK", usage, reason="content_filter"), is_refused=True
    )
    assert await ask() == [refused]


async def test_blocked_answer_keeps_the_words_before_it(api: respx.Route) -> None:
    api.mock(return_value=stream(GEMINI.token("One "), GEMINI.candidate(finishReason="SAFETY")))
    assert await ask() == [Text("One "), _ends("SAFETY", reason="content_filter")]


async def test_prompt_feedback_without_a_block_ends_nothing(api: respx.Route) -> None:
    """Feedback beside a candidate ends nothing."""
    word = {"index": 0, "content": {"parts": [{"text": "One"}]}}
    both = chunk(candidates=[word], promptFeedback={"safetyRatings": []})
    api.mock(return_value=stream(both, GEMINI.candidate(finishReason="STOP")))
    assert await ask() == [Text("One"), _ends("STOP")]


@pytest.mark.promise("end:exactly-one")
async def test_reason_in_every_chunk_gives_one_finish(api: respx.Route) -> None:
    """Older models send STOP with every chunk, so the end of the body is the end."""
    words = [
        GEMINI.candidate(content={"parts": [{"text": it}]}, finishReason="STOP") for it in "12"
    ]
    api.mock(return_value=stream(*words))
    assert await ask() == [Text("1"), Text("2"), _ends("STOP")]


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("frames", [(), (GEMINI.token("One"),), (chunk(usageMetadata={}),)])
async def test_body_that_ends_without_a_reason_is_cut(
    api: respx.Route, frames: tuple[bytes, ...]
) -> None:
    api.mock(return_value=stream(*frames))
    with pytest.raises(UpstreamCut):
        await ask()


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("rest", [CLOSE, RESET, HOLD], ids=["closed", "reset", "silent"])
async def test_answer_survives_what_follows_its_finish_reason(
    rest: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is complete and paid for, and a retry would cost twice."""
    monkeypatch.setattr(answer_module, "END_WAIT_SECONDS", 0.02)
    async with (
        upstream(text("One"), finish(), rest) as api,
        opened(base_url=api.url) as provider,
    ):
        with anyio.fail_after(10):
            async with answering(provider, PROMPT) as deltas:
                assert [it async for it in deltas] == [Text("One"), _ends("STOP", usage=USAGE)]
            await api.until(lambda: api.calls[0].hung_up or api.calls[0].closed_at)


@pytest.mark.parametrize("piece_bytes", [1, 2, 7, 10_000])
@pytest.mark.parametrize("comment", [b": keepalive\n\n", b":\r\n", b": { \r\n\r\n", b":}\n"])
async def test_comments_of_a_proxy_are_skipped(comment: bytes, piece_bytes: int) -> None:
    """The SDK would take them for the JSON of an error."""
    frames = comment.join([b"", GEMINI.token("One:"), GEMINI.token(": two"), STOP, b""])
    async with (
        upstream(raw(frames, piece_bytes=piece_bytes)) as api,
        opened(base_url=api.url) as provider,
        answering(provider, PROMPT) as deltas,
    ):
        expected = [Text("One:"), Text(": two"), _ends("STOP", usage=USAGE)]
        assert [it async for it in deltas] == expected


async def test_usage_is_cumulative_and_the_last_one_counts(api: respx.Route) -> None:
    counted = [
        {"promptTokenCount": 3, "thoughtsTokenCount": 2},
        {"promptTokenCount": 3, "thoughtsTokenCount": 4, "candidatesTokenCount": 1},
        {"promptTokenCount": 3, "thoughtsTokenCount": 4, "candidatesTokenCount": 5},
    ]
    words = [chunk(usageMetadata=it) for it in counted]
    api.mock(return_value=stream(*words, GEMINI.candidate(finishReason="STOP")))
    usage = Usage(input_tokens=3, output_tokens=9, reasoning_tokens=4)
    assert await ask() == [_ends("STOP", usage)]


async def test_missing_usage_stays_missing(api: respx.Route) -> None:
    api.mock(return_value=stream(GEMINI.candidate(finishReason="STOP")))
    assert await ask() == [_ends("STOP")]


# What chunks hold


async def test_thoughts_are_reasoning(api: respx.Route) -> None:
    both = parts({"text": "Hm. ", "thought": True}, {"text": "One"}, {"text": "", "thought": True})
    api.mock(return_value=stream(both, GEMINI.candidate(finishReason="STOP")))
    assert (await ask())[:-1] == [Reasoning("Hm. "), Text("One")]


async def test_other_candidates_and_parts_are_not_text(api: respx.Route) -> None:
    other = {"index": 1, "content": {"parts": [{"text": "Two"}]}, "finishReason": "SAFETY"}
    mine = {"index": 0, "content": {"parts": [{"text": "One"}]}}
    data = {"mimeType": "image/png", "data": "aQ=="}
    image = parts({"inlineData": data}, {"executableCode": {"language": "PYTHON", "code": "1"}})
    end = GEMINI.candidate(finishReason="STOP")
    api.mock(return_value=stream(chunk(candidates=[mine, other]), image, end))
    assert await ask() == [Text("One"), _ends("STOP")]


async def test_sdk_never_retries_by_itself(api: respx.Route) -> None:
    """By default the SDK would retry, under some conditions without end."""
    unavailable: Any = httpx2.Response(503, json={"error": {"code": 503}})
    api.mock(return_value=unavailable)
    with pytest.raises(ProviderUnavailable):
        await ask()
    token = {"index": 0, "finishReason": "CONTINUATION", "continuationToken": "more"}
    api.mock(return_value=stream(chunk(candidates=[token])))
    assert [type(it) for it in await ask()] == [Finish]
    assert api.call_count == 2


async def test_stream_does_not_hold_on_to_its_request() -> None:
    """An image is megabytes, and an answer takes minutes."""
    image = ImagePart(url=f"data:image/png;base64,{'iVBO' * 500_000}")
    prompt = Prompt(messages=(UserMessage((image,)),))
    async with (
        upstream(text("One "), HOLD) as api,
        opened(base_url=api.url) as provider,
    ):
        tracemalloc.start()
        try:
            with anyio.fail_after(10):
                async with answering(provider, prompt) as answer:
                    assert await anext(answer) == Text("One ")
                    api.calls[0].body = None
                    gc.collect()
                    taken = tracemalloc.take_snapshot()
        finally:
            tracemalloc.stop()
    # The prompt is kept, for a retry; asyncio has what the upstream has read.
    of_tests = [
        tracemalloc.Filter(inclusive=False, filename_pattern=f"*/{it}/*")
        for it in ("tests", "asyncio")
    ]
    sizes = {it.size: it for it in taken.filter_traces(of_tests).statistics("lineno")}
    assert max(sizes) < 1_000_000, sizes[max(sizes)]


@pytest.mark.promise("cancel:clean")
async def test_concurrent_calls_close_only_their_own_connection() -> None:
    """The SDK does not show which response belongs to which call, so the adapter must know."""
    go_on = anyio.Event()
    async with (
        upstream(text("One "), until(go_on), text("two"), finish()) as api,
        opened(base_url=api.url) as provider,
        answering(provider, PROMPT) as staying,
    ):
        with anyio.fail_after(10):
            assert await anext(staying) == Text("One ")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_leave_early, provider)
            await api.calls[1].closed.wait()
            assert api.calls[0].closed_at is None
            go_on.set()
            assert await anext(staying) == Text("two")


async def _leave_early(provider: Provider) -> None:
    async with answering(provider, PROMPT) as leaving:
        assert await anext(leaving) == Text("One ")
