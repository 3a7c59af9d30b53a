"""Request parsers: bytes become a `GenerationRequest`, or a refusal that names the cause."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import AISDKSettings, GenerationSettings, LimitSettings
from streamsvc.dialects.ai_sdk.request import UIMessageParser
from streamsvc.dialects.json_body import MAX_MARKS, Body
from streamsvc.dialects.native.request import NativeRequestParser
from streamsvc.dialects.openai.request import ChatCompletionParser
from streamsvc.dialects.request import RequestBuilder
from streamsvc.errors import (
    InvalidField,
    MalformedRequest,
    RequestError,
    RequestTooLarge,
    UnsupportedEncoding,
)
from streamsvc.messages import GenerationRequest, UserMessage

Parse = Callable[[Body], GenerationRequest]

LIMITS = LimitSettings(max_prompt_chars=100)
GENERATIONS = GenerationSettings(max_grace_seconds=50)
BUILDER = RequestBuilder(default_provider="fake", models={}, limits=LIMITS, generations=GENERATIONS)
NATIVE = NativeRequestParser(BUILDER)
OPENAI = ChatCompletionParser(BUILDER, dict.fromkeys(("fake", "other"), FakeSettings()))
AI_SDK = UIMessageParser(BUILDER, AISDKSettings(grace_seconds=30), GENERATIONS)

PARSERS: Mapping[str, Parse] = {
    "native": NATIVE.parse,
    "openai": lambda body: OPENAI.parse(body).generation,
    "ai-sdk": lambda body: AI_SDK.parse(body, may_come_back=True).generation,
}
TURNS: Mapping[str, Any] = {
    "native": {"messages": [{"role": "user", "content": "hi"}]},
    "openai": {"model": "fake", "messages": [{"role": "user", "content": "hi"}]},
    "ai-sdk": {
        "id": "chat",
        "messages": [{"role": "user", "parts": [{"type": "text", "text": "hi"}]}],
    },
}

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(params=PARSERS)
def api(request: pytest.FixtureRequest) -> str:
    api: str = request.param
    return api


def _body(value: object) -> Body:
    return Body(msgspec.json.encode(value), "application/json")


def test_same_request_in_each_api_parses_alike(api: str) -> None:
    request = PARSERS[api](_body(TURNS[api]))
    assert request.provider == "fake"
    assert request.prompt.messages == (UserMessage("hi"),)
    assert not request.prompt.system
    assert not request.prompt.model


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("api", PARSERS)
@given(raw=st.binary() | json.map(msgspec.json.encode))
@example(raw=b"")
@example(raw=b"\xff")
@example(raw=b"[" * 100_000)
@example(raw=b'{"messages":1e999}')
@example(raw=b'{"prompt":"\\ud83d"}')
def test_any_bytes_are_a_request_or_a_refusal(api: str, raw: bytes) -> None:
    """No other exception leaves a parser, and every refusal is one sentence."""
    try:
        PARSERS[api](Body(raw))
    except RequestError as exc:
        assert exc.message.endswith((".", "?"))  # noqa: PT017  # a request is fine too
        assert exc.message.isprintable()  # noqa: PT017


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("api", PARSERS)
@given(name=st.text(min_size=1, max_size=20), value=json)
def test_any_extra_field_is_a_request_or_a_refusal(api: str, name: str, value: object) -> None:
    try:
        PARSERS[api](_body({**TURNS[api], name: value}))
    except RequestError as exc:
        assert exc.message.endswith((".", "?"))  # noqa: PT017
        assert exc.field or isinstance(exc, MalformedRequest)  # noqa: PT017


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("body", "kind", "sentence"),
    [
        (
            Body(b"prompt=hi", "application/x-www-form-urlencoded"),
            MalformedRequest,
            (
                "The body is not JSON: invalid character at line 1, column 1;"
                " its Content-Type is application/x-www-form-urlencoded."
            ),
        ),
        (
            Body(b'{\n "messages": [}', "application/json"),
            MalformedRequest,
            "The body is not JSON: invalid character at line 2, column 15.",
        ),
        (Body(b"\x1f\x8b\x08"), UnsupportedEncoding, "The body is compressed"),
    ],
    ids=["form", "broken", "gzip"],
)
def test_body_that_is_not_json_is_refused_with_its_position(
    api: str, body: Body, kind: type[RequestError], sentence: str
) -> None:
    with pytest.raises(kind) as refused:
        PARSERS[api](body)
    assert refused.value.message.startswith(sentence)


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("api", ["native", "openai"])
def test_body_that_is_nested_too_deeply_is_refused(api: str) -> None:
    deep = b"[" * 5000 + b"]" * 5000
    field = b'"extra_body": {"a": %b}' if api == "native" else b'"messages": [{"content": %b}]'
    raw = b"{%b}" % (field % deep)
    with pytest.raises(MalformedRequest, match="nested too deeply"):
        PARSERS[api](Body(raw))


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("piece", [b"[],", b'{"role":"user"},', b'"\\n",', b"1,"])
def test_large_body_of_many_values_is_refused_undecoded(api: str, piece: bytes) -> None:
    """Decoding would hold up the streams of others for seconds."""
    raw = b'{"messages": [%b1]}' % (piece * (MAX_MARKS + 1))
    assert len(raw) > 1_000_000
    with pytest.raises(RequestTooLarge, match="too many values and escapes"):
        PARSERS[api](Body(raw))


@pytest.mark.promise("input:clear-error")
def test_long_name_is_shortened_in_the_refusal(api: str) -> None:
    with pytest.raises(InvalidField) as refused:
        PARSERS[api](_body({**TURNS[api], "x" * 100_000: 1}))
    assert refused.value.field is not None
    assert len(refused.value.field) + len(refused.value.message) < 4000


@pytest.mark.promise("input:clear-error")
def test_limits_hold_for_every_api(api: str) -> None:
    with pytest.raises(InvalidField) as refused:
        PARSERS[api](_body({**TURNS[api], "grace_seconds": 51}))
    assert refused.value.field == "grace_seconds"
    long = msgspec.json.decode(msgspec.json.encode(TURNS[api]).replace(b"hi", b"h" * 101))
    with pytest.raises(RequestTooLarge):
        PARSERS[api](_body(long))


@pytest.mark.parametrize(
    ("may_come_back", "asked", "grace_seconds"),
    [(True, None, 30), (False, None, 0), (True, 5, 5), (False, 5, 5)],
)
def test_chat_that_can_resume_has_a_grace(
    asked: float | None, grace_seconds: float, *, may_come_back: bool
) -> None:
    body = _body({**TURNS["ai-sdk"], "grace_seconds": asked})
    request = AI_SDK.parse(body, may_come_back=may_come_back)
    assert request.chat == "chat"
    assert request.generation.grace_seconds == grace_seconds


def test_query_sets_the_prompt_provider_and_fault() -> None:
    request = NATIVE.from_query({"prompt": "hi", "provider": "other", "fault": "cut", "key": "a"})
    assert request.prompt.messages == (UserMessage("hi"),)
    assert (request.provider, request.prompt.fault) == ("other", "cut")


def _asking(**fields: object) -> dict[str, object]:
    return {**TURNS["openai"], **fields}


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("api", "body", "field", "sentence"),
    [
        (
            "openai",
            _asking(functions=[1]),
            "functions",
            "Unsupported parameter: 'functions'; use 'tools'.",
        ),
        ("openai", _asking(n=2), "n", "Unsupported parameter: 'n'; accepted: 1."),
        ("openai", _asking(model=""), "model", "A 'model' is required."),
        ("openai", _asking(model="fake/../x"), "model", "Invalid 'model': 'fake/../x'."),
        (
            "openai",
            _asking(max_tokens=1, max_completion_tokens=1),
            "max_tokens",
            "Give either 'max_tokens' or 'max_completion_tokens', not both.",
        ),
        (
            "openai",
            _asking(stream_options={"include_obfuscation": True}),
            "stream_options.include_obfuscation",
            "Unsupported parameter: 'stream_options.include_obfuscation'; accepted: include_usage.",
        ),
        (
            "openai",
            _asking(messages=[{"role": "robot", "content": "hi"}]),
            "messages[0].role",
            "Invalid 'messages[0].role': 'robot' is not supported; accepted: assistant, developer, system, tool, user.",
        ),
        (
            "openai",
            _asking(messages=[{"role": "user", "content": [{"type": "image_url"}]}]),
            "messages[0].content[0].image_url",
            "The field 'messages[0].content[0].image_url' is missing.",
        ),
        (
            "ai-sdk",
            {"id": "chat", "messages": [{"role": "user", "parts": [{"type": "audio"}]}]},
            "messages[0].parts[0]",
            "Parts of type 'audio' are not supported.",
        ),
        (
            "native",
            {"prompt": "hi", "max_completion_tokens": 1},
            "max_completion_tokens",
            "Unknown field 'max_completion_tokens'; here it is 'max_tokens'.",
        ),
    ],
)
def test_unsupported_field_is_refused_by_name(
    api: str, body: object, field: str, sentence: str
) -> None:
    with pytest.raises(InvalidField) as refused:
        PARSERS[api](_body(body))
    assert (refused.value.field, refused.value.message) == (field, sentence)


def test_requested_model_replaces_the_configured_one() -> None:
    request = OPENAI.parse(_body(_asking(model="other/m-2", stream=True)))
    assert (request.generation.provider, request.generation.prompt.model) == ("other", "m-2")
    assert (request.stream, request.include_usage) == (True, False)
