"""The body of a request to OpenAI's API: to the letter, and as the openai SDK's own types have it."""

from collections.abc import Mapping
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsStreaming,
)
from pydantic import ConfigDict, TypeAdapter, with_config

from streamsvc.config.provider_settings import OpenAISettings
from streamsvc.messages import (
    AssistantMessage,
    FilePart,
    ImagePart,
    JsonFormat,
    Message,
    NamedTool,
    Prompt,
    ReasoningEffort,
    TextPart,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
    Verbosity,
)
from streamsvc.providers.openai.body import BodyWriter
from streamsvc.providers.provider_data import stamped
from support.settings import mistake, read

HI = (UserMessage("Hi"),)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def body(
    *messages: Message, base_url: str = "", entry: Mapping[str, Any] | None = None, **fields: Any
) -> dict[str, Any]:
    """Return the body for a prompt; the entry's settings are *entry*."""
    settings = OpenAISettings(model="gpt-test", base_url=base_url, **(entry or {}))
    return BodyWriter(settings).body(Prompt(messages=messages or HI, **fields))


def message(turn: Message, base_url: str = "", model: str = "") -> Any:
    [sent] = body(turn, base_url=base_url, model=model)["messages"]
    return sent


def test_prompt_of_words_makes_these_bytes() -> None:
    turns = UserMessage("One?"), AssistantMessage("Two."), UserMessage("Three? 🙂\u2028")
    sent = body(*turns, system="Be brief.", temperature=0.5, stop=("a",), seed=7, max_tokens=9)
    assert (
        msgspec.json.encode(sent)
        == (
            '{"model":"gpt-test","messages":[{"role":"system","content":"Be brief."},'
            '{"role":"user","content":"One?"},{"role":"assistant","content":"Two."},'
            '{"role":"user","content":"Three? 🙂\u2028"}],"stream":true,'
            '"temperature":0.5,"stop":["a"],"seed":7,"max_completion_tokens":9}'
        ).encode()
    )


# Messages


@pytest.mark.parametrize(
    ("turn", "sent"),
    [
        (UserMessage("Hi", name="Ann"), {"role": "user", "content": "Hi", "name": "Ann"}),
        (UserMessage((TextPart("Hi"),)), {"role": "user", "content": "Hi"}),
        (
            UserMessage((TextPart("a"), TextPart("b"))),
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        ),
        (
            UserMessage((TextPart("See:"), ImagePart(url=PIXEL, detail="low"), ImagePart(url="https://a.test/b.png"))),
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "See:"},
                    {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
                    {"type": "image_url", "image_url": {"url": "https://a.test/b.png"}},
                ],
            },
        ),
        (
            UserMessage((FilePart(url="data:application/pdf;base64,JVBERg==", filename="a.pdf"),)),
            {
                "role": "user",
                "content": [
                    {
                        "type": "file",
                        "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="},
                    }
                ],
            },
        ),
        (AssistantMessage(""), {"role": "assistant", "content": ""}),
        (AssistantMessage("Yes", name="Bot"), {"role": "assistant", "content": "Yes", "name": "Bot"}),
        (
            AssistantMessage(refusal="I cannot."),
            {"role": "assistant", "content": None, "refusal": "I cannot."},
        ),
        (
            AssistantMessage(tool_calls=(ToolCall(id="c", name="f", arguments='{"x": 1}'),)),
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
                ],
            },
        ),
        (
            AssistantMessage("Let me see.", tool_calls=(ToolCall(id="c", name="f", arguments="{}"),)),
            {
                "role": "assistant",
                "content": "Let me see.",
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
        ),
        (
            ToolMessage(tool_call_id="c", name="f", content="21 °C"),
            {"role": "tool", "content": "21 °C", "tool_call_id": "c"},
        ),
    ],
)  # fmt: skip
def test_message_is_sent_with_all_it_has(turn: Message, sent: object) -> None:
    assert message(turn) == sent


def test_old_refusal_is_text_for_a_compatible_server() -> None:
    refused = message(AssistantMessage(refusal="I cannot."), "http://a.test/v1")
    assert refused == {"role": "assistant", "content": "I cannot."}


def test_long_id_of_another_provider_is_shortened_for_openai() -> None:
    """In call and result alike; a server of another vendor may need what is in it."""
    long = "call_" + "x" * 100
    turns = (
        AssistantMessage(tool_calls=(ToolCall(id=long, name="f", arguments="{}"),)),
        ToolMessage(tool_call_id=long, name="f", content="1"),
    )
    call, result = body(*turns)["messages"]
    assert call["tool_calls"][0]["id"] == result["tool_call_id"] != long
    assert len(result["tool_call_id"]) <= 40
    call, result = body(*turns, base_url="http://a.test/v1")["messages"]
    assert call["tool_calls"][0]["id"] == result["tool_call_id"] == long


DATA = {"google": {"thought_signature": "c2ln"}}


@pytest.mark.parametrize(
    ("data", "base_url", "model", "is_sent"),
    [
        (DATA, "http://a.test/v1", "", True),
        (stamped(DATA, "openai", "gpt-test"), "http://a.test/v1", "", True),
        (stamped(DATA, "openai", "gpt-test"), "http://a.test/v1", "other", False),
        (stamped(DATA, "openai", "other"), "http://a.test/v1", "other", True),
        (stamped(DATA, "gemini", "gpt-test"), "http://a.test/v1", "", False),
        (stamped({}, "openai", "gpt-test"), "http://a.test/v1", "", False),
        (DATA, "", "", False),
        (DATA, "https://eu.api.openai.com/v1/", "", False),
    ],
    ids=["no stamp", "own", "another model", "named model", "another kind", "empty", "OpenAI", "its region"],
)  # fmt: skip
def test_provider_data_goes_back_where_it_came_from(
    data: Mapping[str, Any], base_url: str, model: str, *, is_sent: bool
) -> None:
    call = ToolCall(id="c", name="f", arguments="{}", provider_data=data)
    sent = message(AssistantMessage("a", (call,), provider_data=data), base_url, model)
    extras = [sent.get("extra_content"), sent["tool_calls"][0].get("extra_content")]
    assert extras == [DATA if is_sent else None] * 2


def test_service_behind_this_one_gets_its_own_stamp_back() -> None:
    inner = {"kind": "gemini", "model": "gemini-test"}
    data = stamped(DATA, "openai", "gpt-test", inner=inner)
    sent = message(AssistantMessage("a", provider_data=data), "http://a.test/v1")
    assert sent["extra_content"] == {**DATA, "streamsvc": inner}


# Parameters


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({"top_p": 0.0}, {"top_p": 0.0}),
        ({"top_k": 3, "min_p": 0.0}, {"top_k": 3, "min_p": 0.0}),
        ({"frequency_penalty": 0.0, "presence_penalty": -2.0}, {"frequency_penalty": 0.0, "presence_penalty": -2.0}),
        ({"repetition_penalty": 1.1}, {"repetition_penalty": 1.1}),
        ({"logit_bias": {"50": -100.0, "51": 0.5}}, {"logit_bias": {"50": -100, "51": 0.5}}),
        ({"logprobs": True, "top_logprobs": 0}, {"logprobs": True, "top_logprobs": 0}),
        ({"reasoning_effort": "xhigh", "verbosity": "low"}, {"reasoning_effort": "xhigh", "verbosity": "low"}),
        ({"prediction": "int x;"}, {"prediction": {"type": "content", "content": "int x;"}}),
        ({"user": "u", "safety_identifier": "s"}, {"user": "u", "safety_identifier": "s"}),
        (
            {"prompt_cache_key": "k", "prompt_cache_retention": "24h"},
            {"prompt_cache_key": "k", "prompt_cache_retention": "24h"},
        ),
        ({"service_tier": "flex", "store": False}, {"service_tier": "flex", "store": False}),
        ({"response_format": JsonFormat()}, {"response_format": {"type": "json_object"}}),
        (
            {"response_format": JsonFormat(schema=SCHEMA)},
            {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}},
        ),
        (
            {"response_format": JsonFormat(schema=SCHEMA, name="place", description="Where.", strict=True)},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "place", "description": "Where.", "schema": SCHEMA, "strict": True},
                }
            },
        ),
        (
            {"tools": (Tool(name="now"), Tool(name="f", description="Does.", parameters=SCHEMA, strict=False))},
            {
                "tools": [
                    {"type": "function", "function": {"name": "now"}},
                    {
                        "type": "function",
                        "function": {"name": "f", "description": "Does.", "parameters": SCHEMA, "strict": False},
                    },
                ]
            },
        ),
        (
            {"tools": (Tool(name="now"),), "tool_choice": "required", "parallel_tool_calls": False},
            {
                "tools": [{"type": "function", "function": {"name": "now"}}],
                "tool_choice": "required",
                "parallel_tool_calls": False,
            },
        ),
        (
            {"tools": (Tool(name="now"),), "tool_choice": NamedTool("now")},
            {
                "tools": [{"type": "function", "function": {"name": "now"}}],
                "tool_choice": {"type": "function", "function": {"name": "now"}},
            },
        ),
    ],
    ids=repr,
)  # fmt: skip
@pytest.mark.promise("provider:swap")
def test_parameter_is_sent_to_the_letter(asked: dict[str, Any], sent: dict[str, Any]) -> None:
    bare = body()
    assert body(**asked) == {**bare, **sent}


# Fields that nobody here knows


def test_extra_fields_of_the_request_replace_those_of_the_entry() -> None:
    entry = {"extra_body": {"provider": {"sort": "price"}, "top_k": 5, "min_p": 0.1}}
    extra = {"top_k": 6, "best_of": 2}
    expected = {**body(), "provider": {"sort": "price"}, "top_k": 6, "min_p": 0.1, "best_of": 2}
    assert body(entry=entry, extra_body=extra) == expected


def test_extra_fields_replace_no_field_of_the_service() -> None:
    taken = {
        "model": "x",
        "messages": [],
        "stream": False,
        "stream_options": None,
        "n": 5,
        "top_p": 1,
    }
    assert body(extra_body=taken, entry={"extra_body": taken}, top_p=0.5) == {
        **body(),
        "top_p": 0.5,
    }


ENTRY = '[providers.openai]\nkind = "openai"\n'
VARIABLE = "STREAMSVC_PROVIDERS__OPENAI__EXTRA_BODY"


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ("extra_body = { a = { b = [1, 2.5, true, 'c'] } }", {}, {"a": {"b": [1, 2.5, True, "c"]}}),
        ("[providers.openai.extra_body]\ntop_k = 3", {}, {"top_k": 3}),
        ("", {VARIABLE: '{"a": {"b": [1, null]}}'}, {"a": {"b": [1, None]}}),
        (
            "",
            {f"{VARIABLE}__TOP_K": "3", f"{VARIABLE}__MODE": "fast"},
            {"top_k": 3, "mode": "fast"},
        ),
    ],
    ids=["inline", "table", "variable", "variables"],
)
def test_entry_may_have_extra_fields(text: str, environ: dict[str, str], expected: object) -> None:
    entry = read(ENTRY + text, environ).providers["openai"]
    assert isinstance(entry, OpenAISettings)
    assert entry.extra_body == expected


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("text", "environ", "line"),
    [
        (
            "extra_body = { n = 2 }", {},
            "found 'n'; accepted: fields that the service does not send itself, so not one of 'messages', 'model', 'n', 'stream', 'stream_options'",
        ),
        (
            "extra_body = { a = 1979-05-27 }", {},
            "found a table; accepted: a table without dates, times, inf and nan",
        ),
        (
            "extra_body = { a = inf }", {},
            "found a table; accepted: a table without dates, times, inf and nan",
        ),
        ("extra_body = 7", {}, "found 7; accepted: a table without dates, times, inf and nan"),
        ("", {VARIABLE: "[1]"}, "found '[1]'; accepted: a JSON object"),
        ("", {VARIABLE: "top_k"}, "found 'top_k'; accepted: a JSON object"),
    ],
)  # fmt: skip
def test_extra_fields_that_cannot_be_sent_are_mistakes(
    text: str, environ: dict[str, str], line: str
) -> None:
    place = VARIABLE if environ else "config.toml: providers.openai.extra_body"
    assert mistake(ENTRY + text, environ) == f"{place}: {line}"


# The SDK's own types


@with_config(ConfigDict(extra="forbid"))
class _Params(CompletionCreateParamsStreaming):
    """The parameters, of which none is unknown."""


PARAMS: TypeAdapter[Any] = TypeAdapter(_Params, config=None)
words = st.text("ab ", max_size=5)
numbers = st.floats(-2, 2)
calls = st.builds(
    ToolCall, id=st.sampled_from(["a", "x" * 50]), name=st.just("f"), arguments=st.just("{}")
)
parts = st.one_of(
    st.builds(TextPart, words),
    st.builds(
        ImagePart,
        url=st.just(PIXEL),
        detail=st.sampled_from([None, "auto", "low", "high", "original"]),
    ),
    st.builds(FilePart, url=st.just(PIXEL), filename=words),
)
turns = st.one_of(
    st.builds(UserMessage, words | st.lists(parts, min_size=1, max_size=3).map(tuple), words),
    st.builds(AssistantMessage, words, st.lists(calls, max_size=2).map(tuple), words, words),
    st.builds(ToolMessage, tool_call_id=words, name=words, content=words),
)
tools = st.builds(
    Tool, name=st.just("f"), description=words, parameters=st.sampled_from([None, SCHEMA]),
    strict=st.sampled_from([None, True, False]),
)  # fmt: skip
formats = st.builds(
    JsonFormat, schema=st.sampled_from([None, SCHEMA]), name=words, description=words,
    strict=st.sampled_from([None, True]),
)  # fmt: skip
prompts = st.builds(
    Prompt,
    messages=st.lists(turns, min_size=1, max_size=4).map(tuple),
    system=words,
    temperature=st.none() | numbers,
    top_p=st.none() | numbers,
    frequency_penalty=st.none() | numbers,
    presence_penalty=st.none() | numbers,
    logit_bias=st.dictionaries(st.just("50"), st.integers(-100, 100).map(float)),
    max_tokens=st.none() | st.integers(1, 9),
    stop=st.lists(words, max_size=2).map(tuple),
    seed=st.none() | st.integers(0, 9),
    logprobs=st.booleans(),
    top_logprobs=st.none() | st.integers(0, 20),
    reasoning_effort=st.sampled_from([None, *get_args(ReasoningEffort)]),
    verbosity=st.sampled_from([None, *get_args(Verbosity)]),
    response_format=st.none() | formats,
    prediction=words,
    tools=st.lists(tools, max_size=2).map(tuple),
    tool_choice=st.none() | st.sampled_from(["auto", "none", "required", NamedTool("f")]),
    parallel_tool_calls=st.none() | st.booleans(),
    user=words,
    safety_identifier=words,
    prompt_cache_key=words,
    prompt_cache_retention=st.sampled_from(["", "24h"]),
    service_tier=st.sampled_from(["", "flex"]),
    store=st.none() | st.booleans(),
)


@given(prompt=prompts)
def test_any_body_is_what_the_sdk_would_send(prompt: Prompt) -> None:
    """Every field and its value have the types of `chat.completions.create`; the empty values are our own."""
    sent = BodyWriter(OpenAISettings(model="gpt-test")).body(prompt)
    PARAMS.validate_python(sent)
    assert msgspec.json.decode(msgspec.json.encode(sent)) == sent
