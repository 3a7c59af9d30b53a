"""The OpenAI adapter against the openai SDK: what is sent, and what the answers mean.

What all providers have in common is tried in `conformance`; here is what only this API has. Where the
connection itself matters the upstream is a real one.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from streamsvc.config.provider_settings import OpenAISettings
from streamsvc.events import Reasoning, Text, Usage
from streamsvc.messages import AssistantMessage, Prompt, UserMessage
from streamsvc.provider_errors import (
    ContextLengthExceeded,
    ProviderContentFiltered,
    ProviderError,
    ProviderRateLimited,
    ProviderRefused,
    ProviderUnavailable,
    UpstreamCut,
)
from streamsvc.providers import answer as answer_module
from streamsvc.providers import base
from streamsvc.providers.base import Finish, Provider
from streamsvc.providers.openai import provider as adapter
from support.answering import Piece, answering
from support.upstreams import (
    CLOSE,
    DONE,
    HOLD,
    OPENAI,
    Call,
    Exchange,
    Step,
    Upstream,
    finish,
    frame,
    raw,
    status,
    text,
    upstream,
)

URL = "http://openai.test/v1"
PROMPT = Prompt(messages=(UserMessage("Say it."),))
OPTIONS = {"include_usage": True, "include_obfuscation": False}
STOP = OPENAI.choice({}, finish_reason="stop")


pytestmark = pytest.mark.usefixtures("no_certificates")


class Endpoint:
    """The only endpoint: an upstream with prepared responses."""

    def __init__(self, api: Upstream) -> None:
        self.api = api

    def answers(self, *steps: Step) -> None:
        """Set the responses to further requests; the last one repeats."""
        self.api.script(*((step,) for step in steps))

    @property
    def calls(self) -> list[Call]:
        return self.api.calls


@pytest.fixture
async def api(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Endpoint]:
    async with upstream() as api:
        monkeypatch.setitem(globals(), "URL", f"{api.url}/v1")
        yield Endpoint(api)


@asynccontextmanager
async def opened(*, key: str = "", **fields: Any) -> AsyncIterator[Provider]:
    settings = OpenAISettings(**{"model": "gpt-test", "base_url": URL, **fields})
    async with adapter.open_provider(settings, key) as provider:
        yield provider


def stream(*frames: bytes) -> Step:
    return raw(b"".join(frames))


def refusal(status_code: int, **error: object) -> Step:
    return status(status_code, {"error": error})


async def gather(provider: Provider, prompt: Prompt = PROMPT) -> list[Piece]:
    with anyio.fail_after(10):
        async with answering(provider, prompt) as deltas:
            return [delta async for delta in deltas]


async def ask(prompt: Prompt = PROMPT, *, key: str = "", **fields: Any) -> list[Piece]:
    async with opened(key=key, **fields) as provider:
        return await gather(provider, prompt)


def sent(api: Endpoint, number: int = -1) -> Any:
    return api.calls[number].body


# What is sent


@pytest.mark.promise("provider:swap")
@pytest.mark.parametrize(
    ("asked", "configured", "expected"),
    [
        ({}, {}, {}),
        ({"temperature": 0.0}, {}, {"temperature": 0.0}),
        ({"stop": ("a", "b")}, {}, {"stop": ["a", "b"]}),
        ({"seed": 0}, {}, {"seed": 0}),
        ({"max_tokens": 7}, {}, {"max_completion_tokens": 7}),
        ({"max_tokens": 7}, {"max_tokens_field": "max_tokens"}, {"max_tokens": 7}),
        (
            {"system": "Be brief."},
            {},
            {
                "messages": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": "Say it."},
                ]
            },
        ),
    ],
    ids=["nothing", "temperature", "stop", "seed", "max tokens", "max tokens, older", "system"],
)
async def test_parameter_is_sent_under_its_name_only_if_given(
    api: Endpoint, asked: dict[str, Any], configured: dict[str, Any], expected: dict[str, Any]
) -> None:
    api.answers(stream(STOP, DONE))
    await ask(msgspec.structs.replace(PROMPT, **asked), **configured)
    assert sent(api) == {
        "model": "gpt-test",
        "messages": [{"role": "user", "content": "Say it."}],
        "stream": True,
        "stream_options": OPTIONS,
        **expected,
    }


async def test_turns_are_sent_in_order_with_their_roles(api: Endpoint) -> None:
    api.answers(stream(STOP, DONE))
    turns: tuple[UserMessage | AssistantMessage, ...] = (
        UserMessage("One?"),
        AssistantMessage("Two."),
        UserMessage("Three? 🙂\u2028"),
    )
    await ask(Prompt(messages=turns))
    roles = ("user", "assistant", "user")
    assert sent(api)["messages"] == [
        {"role": role, "content": it.content} for role, it in zip(roles, turns, strict=True)
    ]


@pytest.mark.promise("secret:kept")
async def test_sdk_logs_no_prompt_whatever_openai_log_says(
    api: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """`OPENAI_LOG=debug` would make it log every request with its body."""
    logging.getLogger("openai").setLevel(logging.DEBUG)
    caplog.set_level(logging.DEBUG)
    api.answers(stream(STOP, DONE))
    await ask()
    assert sent(api)["messages"][0]["content"] not in caplog.text


@pytest.mark.promise("secret:kept")
async def test_environment_does_not_reach_the_upstream(
    api: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key for one vendor must not reach the server of another."""
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET"):
        monkeypatch.setenv(f"OPENAI_{name}", "leak")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Leak: leak\nAuthorization: leak")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://leak.test/v1")
    api.answers(stream(STOP, DONE))
    await ask()
    call = api.calls[-1]
    assert "leak" not in f"{call.path} {call.headers!r} {call.body!r}".lower()
    assert call.headers["authorization"] == "Bearer none-needed"


async def test_configured_key_is_sent_and_compression_declined(api: Endpoint) -> None:
    api.answers(stream(STOP, DONE))
    await ask(key="sk-mine")
    headers = api.calls[-1].headers
    assert headers["authorization"] == "Bearer sk-mine"
    assert headers["accept-encoding"] == "identity"


# Servers without `stream_options`


@pytest.mark.parametrize("code", [400, 422])
@pytest.mark.parametrize("name", ["stream_options", "include_usage", "include_obfuscation"])
async def test_stream_options_are_dropped_after_a_refusal(
    api: Endpoint, code: int, name: str
) -> None:
    """The request is repeated without them at once, and no later request has them."""
    refused = refusal(code, message=f"Unknown field: {name}")
    api.answers(refused, stream(OPENAI.token("Hi"), STOP, DONE))
    async with opened() as provider:
        for _ in range(2):
            assert (await gather(provider))[0] == Text("Hi")
    assert ["stream_options" in sent(api, number) for number in range(3)] == [True, False, False]


async def test_other_refusals_are_not_repeated(api: Endpoint) -> None:
    api.answers(refusal(400, message="temperature is too hot"))
    with pytest.raises(ProviderRefused):
        await ask()
    assert len(api.calls) == 1


async def test_refusal_without_stream_options_proves_nothing(
    api: Endpoint,
) -> None:
    """A server that repeats the input also names what the prompt names."""
    refused = refusal(400, message="bad input: 'what are stream_options?'")
    api.answers(refused, refused, stream(STOP, DONE))
    async with opened() as provider:
        with pytest.raises(ProviderRefused):
            await gather(provider)
        await gather(provider)
    assert ["stream_options" in sent(api, number) for number in range(3)] == [True, False, True]


async def test_refused_stream_options_cost_one_extra_request() -> None:
    """The server sees the repeated request on the same connection."""
    refused = status(400, {"error": {"message": "Unrecognized", "param": "stream_options"}})
    async with upstream() as api, opened(base_url=f"{api.url}/v1") as provider:
        api.script((refused,), (text("One"), finish()))
        for _ in range(3):
            assert (await gather(provider))[0] == Text("One")
    assert ["stream_options" in call.body for call in api.calls] == [True, False, False, False]
    assert {call.connection for call in api.calls} == {1}


# Errors


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": "context_length_exceeded", "message": "…"}, ContextLengthExceeded),
        ({"code": 400, "type": "exceed_context_size_error"}, ContextLengthExceeded),
        ({"code": "content_filter", "message": "…"}, ProviderContentFiltered),
        ({"code": "content_policy_violation"}, ProviderContentFiltered),
        (
            {"code": None, "innererror": {"code": "ResponsibleAIPolicyViolation"}},
            ProviderContentFiltered,
        ),
        ({"message": "the content management policy"}, ProviderContentFiltered),
        ({"message": "no"}, ProviderRefused),
        (
            {"message": "no", "input": "What is a context window? And a content_filter?"},
            ProviderRefused,
        ),
    ],
    ids=repr,
)
async def test_refusals_differ_by_what_they_say(
    api: Endpoint, error: dict[str, Any], expected: type[ProviderError]
) -> None:
    """Only the sentence of the server counts: some servers repeat the input beside it."""
    api.answers(refusal(400, **error))
    with pytest.raises(ProviderError) as caught:
        await ask()
    assert type(caught.value) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"message": "no"}, ProviderError),
        ({"code": "overloaded", "message": "no"}, ProviderUnavailable),
        ({"code": "whatever", "type": "server_error"}, ProviderUnavailable),
        ({"code": "rate_limit_exceeded"}, ProviderRateLimited),
        ({"code": "content_filter"}, ProviderContentFiltered),
        ({"code": "context_length_exceeded"}, ContextLengthExceeded),
        ({"type": "invalid_request_error"}, ProviderRefused),
        ("no", ProviderError),
        ({"code": "503"}, ProviderUnavailable),
        ({"code": 400, "message": "maximum context length"}, ContextLengthExceeded),
        ({"code": True}, ProviderError),
        ({"code": 42}, ProviderError),
        ({"code": 10**400}, ProviderError),
        ({"code": "9" * 10_000}, ProviderError),
        ({"code": ["503"]}, ProviderError),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.promise("end:exactly-one")
async def test_error_chunk_may_have_many_shapes(
    api: Endpoint, error: object, expected: type[ProviderError]
) -> None:
    api.answers(stream(OPENAI.token("One "), frame({"error": error}), STOP, DONE))
    async with opened() as provider, answering(provider, PROMPT) as deltas:
        assert await anext(deltas) == Text("One ")
        with pytest.raises(ProviderError) as caught:
            await anext(deltas)
    assert type(caught.value) is expected


# How an answer ends


def _ends(reason: str = "stop", usage: Usage | None = None) -> Finish:
    return Finish(reason="stop", provider_reason=reason, model="gpt-test-1", usage=usage)


@pytest.mark.promise("end:exactly-one")
async def test_error_may_be_inside_a_choice(api: Endpoint) -> None:
    """OpenRouter does this, with the finish reason `error`."""
    failed = OPENAI.choice({}, finish_reason="error", error={"code": 429, "message": "no"})
    api.answers(stream(OPENAI.token("One "), failed, DONE))
    async with opened() as provider, answering(provider, PROMPT) as deltas:
        assert await anext(deltas) == Text("One ")
        with pytest.raises(ProviderRateLimited):
            await anext(deltas)


async def test_null_string_is_not_a_finish_reason(api: Endpoint) -> None:
    """A server that sends it with each chunk does not mean the end."""
    words = [OPENAI.choice({"content": it}, finish_reason="null") for it in ("One ", "two")]
    api.answers(stream(*words, DONE))
    with pytest.raises(UpstreamCut):
        await ask()


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("tool_calls", "stop"),  # there is no call in the answer
        ("function_call", "stop"),
        ("eos", "stop"),
        ("tired", "other"),
    ],
)
async def test_finish_reason_is_mapped_and_kept(api: Endpoint, word: str, reason: str) -> None:
    api.answers(stream(OPENAI.choice({}, finish_reason=word), DONE))
    [end] = await ask()
    assert isinstance(end, Finish)
    assert (end.reason, end.provider_reason) == (reason, word)


async def test_finish_without_done_is_a_finish(api: Endpoint) -> None:
    api.answers(stream(OPENAI.token("One"), STOP))
    assert await ask() == [Text("One"), _ends()]


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("end", [b"", DONE], ids=["end of the body", "[DONE]"])
async def test_end_without_a_finish_reason_is_a_cut(api: Endpoint, end: bytes) -> None:
    api.answers(stream(OPENAI.token("One"), end))
    with pytest.raises(UpstreamCut):
        await ask()


@pytest.mark.parametrize(
    ("details", "reasoning_tokens"),
    [(None, None), ({}, None), ({"reasoning_tokens": 2}, 2), ({"audio_tokens": 1}, None)],
)
async def test_usage_after_the_finish_belongs_to_it(
    api: Endpoint, details: object, reasoning_tokens: int | None
) -> None:
    counted = {"prompt_tokens": 3, "completion_tokens": 5, "completion_tokens_details": details}
    api.answers(stream(STOP, frame({"choices": [], "usage": counted}), DONE))
    usage = Usage(input_tokens=3, output_tokens=5, reasoning_tokens=reasoning_tokens)
    assert await ask() == [_ends(usage=usage)]


async def test_usage_may_come_with_the_finish(api: Endpoint) -> None:
    chunk = {
        "model": "gpt-test-1",
        "choices": [{"delta": {"content": "One"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    }
    api.answers(stream(frame(chunk), DONE))
    assert await ask() == [Text("One"), _ends(usage=Usage(input_tokens=3, output_tokens=1))]


COUNTED = {"prompt_tokens": 3, "completion_tokens": 5}


@pytest.mark.parametrize("rest", [(STOP, DONE), (STOP,)], ids=["[DONE]", "end of the body"])
async def test_usage_before_the_finish_is_kept(api: Endpoint, rest: tuple[bytes, ...]) -> None:
    """Some servers send usage in every chunk, or early; the last one counts."""
    so_far = frame({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}})
    counted = frame({"choices": [], "usage": COUNTED})
    api.answers(stream(so_far, OPENAI.token("One"), counted, *rest))
    assert await ask() == [Text("One"), _ends(usage=Usage(input_tokens=3, output_tokens=5))]


async def test_usage_after_the_finish_replaces_an_earlier_one(api: Endpoint) -> None:
    so_far = frame({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}})
    counted = frame({"choices": [], "usage": COUNTED})
    api.answers(stream(so_far, STOP, counted, DONE))
    assert await ask() == [_ends(usage=Usage(input_tokens=3, output_tokens=5))]


@pytest.mark.parametrize("value", [None, "three", "-1", -1, True, 2.5, 10**30, "9" * 30], ids=repr)
async def test_invalid_count_does_not_cost_the_answer(api: Endpoint, value: object) -> None:
    """Other counts are kept; without any, there is no usage."""
    details = {"reasoning_tokens": value}
    half = {**COUNTED, "prompt_tokens": value, "completion_tokens_details": details}
    none = {"prompt_tokens": value, "completion_tokens": value, "completion_tokens_details": value}
    for usage, expected in ((half, Usage(input_tokens=0, output_tokens=5)), (none, None)):
        counted = frame({"choices": [], "usage": usage})
        api.answers(stream(OPENAI.token("One"), STOP, counted, DONE))
        assert await ask() == [Text("One"), _ends(usage=expected)]


async def _chatter(to: Exchange) -> None:
    """Send comments without end, as a proxy does to keep a connection alive."""
    while True:
        await to.send(b": alive\n\n")
        await anyio.sleep(0.001)


@pytest.mark.promise("upstream:bounded")
@pytest.mark.parametrize("rest", [HOLD, _chatter], ids=["silent", "comments"])
async def test_wait_for_usage_after_the_finish_is_bounded(
    rest: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some servers send none and keep the connection open; other data does not extend the wait."""
    monkeypatch.setattr(answer_module, "END_WAIT_SECONDS", 0.02)
    async with (
        upstream(text("One"), raw(STOP), rest) as api,
        opened(base_url=f"{api.url}/v1") as provider,
    ):
        assert await gather(provider) == [Text("One"), _ends()]
        with anyio.fail_after(10):
            await api.calls[0].closed.wait()


async def test_break_after_the_finish_does_no_harm() -> None:
    async with (
        upstream(text("One"), raw(STOP), CLOSE) as api,
        opened(base_url=f"{api.url}/v1") as provider,
    ):
        assert await gather(provider) == [Text("One"), _ends()]


async def test_endless_body_after_done_only_costs_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Keeping the connection is worth a short wait, but not the whole time of a clean-up."""
    monkeypatch.setattr(base, "CLOSE_SECONDS", 60)
    script = text("One"), finish(), HOLD
    async with upstream(*script) as api, opened(base_url=f"{api.url}/v1") as provider:
        for _ in range(2):
            assert (await gather(provider))[0] == Text("One")
        with anyio.fail_after(10):
            await api.calls[0].closed.wait()
        assert [call.connection for call in api.calls] == [1, 2]


# What chunks hold


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_reasoning_has_two_names(api: Endpoint, name: str) -> None:
    chunks = OPENAI.choice({name: "Hm. "}), OPENAI.choice({name: "Hm?", "content": "One"})
    api.answers(stream(*chunks, STOP, DONE))
    assert (await ask())[:-1] == [Reasoning("Hm. "), Reasoning("Hm?"), Text("One")]


async def test_reasoning_under_both_names_is_given_once(api: Endpoint) -> None:
    chunk = OPENAI.choice({"reasoning_content": "Hm.", "reasoning": "Hm."})
    api.answers(stream(chunk, STOP, DONE))
    assert (await ask())[:-1] == [Reasoning("Hm.")]


async def test_empty_chunks_between_the_words_are_skipped(api: Endpoint) -> None:
    nothing = b"data:\n\n", b"data: \n\n", frame({"choices": None}), frame({"usage": 7})
    unnumbered = frame({"choices": [{"index": None, "delta": {"content": "two"}}]})
    api.answers(stream(*nothing, OPENAI.token("One "), *nothing, unnumbered, STOP, DONE))
    assert await ask() == [Text("One "), Text("two"), _ends()]


async def test_other_choices_are_left_out(api: Endpoint) -> None:
    other = frame({"choices": [{"index": 1, "delta": {"content": "Two"}, "finish_reason": "stop"}]})
    refused = OPENAI.choice({"refusal": None, "content": "One"})
    api.answers(stream(other, refused, STOP, DONE))
    assert await ask() == [Text("One"), _ends()]


@pytest.mark.promise("secret:kept")
async def test_netrc_does_not_replace_the_configured_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A default entry in `.netrc` applies to any host, but neither replaces the key nor fails the request."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with (
        upstream(text("a"), finish()) as upstream_api,
        adapter.open_provider(OPENAI.entry(upstream_api.url), "sk-test") as provider,
        answering(provider, PROMPT) as deltas,
    ):
        assert await anext(deltas) == Text("a")
        assert (await upstream_api.call()).headers["authorization"] == "Bearer sk-test"


async def test_environment_proxy_is_used_and_no_proxy_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with upstream(text("a"), finish()) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        settings = OPENAI.entry("http://openai.test")
        async with (
            adapter.open_provider(settings, "sk-test") as provider,
            answering(provider, PROMPT) as deltas,
        ):
            assert await anext(deltas) == Text("a")
        assert (await proxy.call()).path.startswith("http://openai.test/")
        monkeypatch.setenv("no_proxy", "openai.test")
        async with adapter.open_provider(settings, "sk-test") as provider:
            with pytest.raises(ProviderUnavailable):
                async with answering(provider, PROMPT) as deltas:
                    await anext(deltas)


@pytest.mark.promise("secret:kept")
@pytest.mark.parametrize("key", ["sk-\ntest", "sk-test\r\nX-Other: field", "sk-\0"])
async def test_key_with_control_characters_is_never_sent(api: Endpoint, key: str) -> None:
    """It also appears in no error."""
    api.answers(stream(OPENAI.token("One"), STOP, DONE))
    with pytest.raises(ProviderUnavailable) as caught:
        await ask(key=key)
    assert "sk-" not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert api.calls == []
