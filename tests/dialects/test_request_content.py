"""Tools, results, images, files, formats and parameters in requests, through the native and the OpenAI parser."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import GenerationSettings, LimitSettings
from streamsvc.dialects.json_body import Body
from streamsvc.dialects.native.request import NativeRequestParser
from streamsvc.dialects.openai.request import ChatCompletionParser
from streamsvc.dialects.request import RequestBuilder, RequestFields
from streamsvc.errors import InvalidField, RequestError, RequestTooLarge
from streamsvc.messages import (
    AssistantMessage,
    FilePart,
    ImagePart,
    JsonFormat,
    NamedTool,
    Prompt,
    TextPart,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from support.contents import (
    GIF,
    HI,
    JPEG,
    PDF,
    PNG,
    WEATHER,
    WEBP,
    asking,
    call,
    calling,
    data_url,
    file,
    image,
    result,
    schema_format,
    tool,
)

LIMITS = LimitSettings(max_images=2, max_image_bytes=1000, max_file_bytes=2000)
BUILDER = RequestBuilder(
    default_provider="fake", models={}, limits=LIMITS, generations=GenerationSettings()
)
NATIVE = NativeRequestParser(BUILDER)
OPENAI = ChatCompletionParser(
    BUILDER, {"fake": FakeSettings(), "open": FakeSettings(allow_extra_body=True)}
)

both = pytest.mark.parametrize("api", ["native", "openai"])


def parsed(api: str, body: Mapping[str, Any]) -> Prompt:
    if api == "native":
        return NATIVE.parse(Body(msgspec.json.encode(body))).prompt
    return OPENAI.parse(Body(msgspec.json.encode({"model": "fake", **body}))).generation.prompt


def refusal(api: str, body: Mapping[str, Any], kind: type[RequestError] = InvalidField) -> Any:
    with pytest.raises(kind) as refused:
        parsed(api, body)
    return refused.value.field, refused.value.message


@both
@pytest.mark.promise("content:whole")
def test_every_parameter_is_read(api: str) -> None:
    plain: dict[str, Any] = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.1,
        "frequency_penalty": -2,
        "presence_penalty": 2,
        "repetition_penalty": 1.1,
        "logit_bias": {"50256": -100},
        "max_tokens": 7,
        "seed": 3,
        "logprobs": True,
        "top_logprobs": 5,
        "reasoning_effort": "xhigh",
        "verbosity": "low",
        "parallel_tool_calls": False,
        "user": "u",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "prompt_cache_retention": "24h",
        "service_tier": "flex",
        "store": False,
    }
    body = {
        "messages": [HI],
        **plain,
        "stop": ["x", "y"],
        "prediction": {"type": "content", "content": [{"type": "text", "text": "old "}, {"type": "text", "text": "text"}]},
        "response_format": schema_format({"type": "object"}),
        "tools": [WEATHER, tool("get_time")],
        "tool_choice": {"type": "function", "function": {"name": "get_time"}},
    }  # fmt: skip
    assert parsed(api, body) == Prompt(
        messages=(UserMessage("hi"),),
        **plain,
        stop=("x", "y"),
        prediction="old text",
        response_format=JsonFormat(schema={"type": "object"}, name="answer"),
        tools=(
            Tool(
                name="get_weather",
                description="Weather in a city",
                parameters=WEATHER["function"]["parameters"],
                strict=True,
            ),
            Tool(name="get_time"),
        ),
        tool_choice=NamedTool("get_time"),
    )


@both
@pytest.mark.promise("content:whole")
def test_conversation_with_tools_is_read(api: str) -> None:
    data = {"google": {"thought_signature": "c2ln"}}
    key = "extra_content" if api == "openai" else "provider_data"
    body = {
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]},
            {**HI, "name": "Ada"},
            calling({**call("a", arguments='{"city": "Paris"}'), key: data}, call("b", arguments=""), **{key: data}),
            result("b", [{"type": "text", "text": "20"}, {"type": "text", "text": "°C"}]),
            {"role": "system", "content": "Go on."},
            result("a", ""),
            {"role": "assistant", "content": "Warm.", "name": "Bot"},
            HI,
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"role": "assistant", "refusal": "Never."},
        ]
    }  # fmt: skip
    prompt = parsed(api, body)
    assert prompt.system == "Be\nbrief.\n\nGo on."
    assert prompt.messages == (
        UserMessage("hi", "Ada"),
        AssistantMessage(
            tool_calls=(
                ToolCall(
                    id="a", name="get_weather", arguments='{"city": "Paris"}', provider_data=data
                ),
                ToolCall(id="b", name="get_weather", arguments="{}"),
            ),
            provider_data=data,
        ),
        ToolMessage(tool_call_id="b", name="get_weather", content="20\n°C"),
        ToolMessage(tool_call_id="a", name="get_weather", content=""),
        AssistantMessage("Warm.", name="Bot"),
        UserMessage("hi"),
        AssistantMessage(refusal="No."),
        AssistantMessage(refusal="Never."),
    )


@both
@pytest.mark.promise("content:whole")
def test_same_call_id_may_come_again_in_a_later_turn(api: str) -> None:
    """Some servers count the calls of each answer from 0."""
    turns = [HI, calling(call("call_0")), result("call_0")]
    prompt = parsed(api, {"messages": turns * 2})
    assert [type(message) for message in prompt.messages] == [
        UserMessage,
        AssistantMessage,
        ToolMessage,
    ] * 2


@both
def test_arguments_may_have_half_of_a_surrogate_pair(api: str) -> None:
    """It is legal JSON, and models write it."""
    arguments = r'{"city": "\ud83d"}'
    prompt = parsed(api, {"messages": [HI, calling(call(arguments=arguments)), result()]})
    (calls,) = [turn.tool_calls for turn in prompt.messages if isinstance(turn, AssistantMessage)]
    assert calls[0].arguments == arguments


@both
@pytest.mark.promise("content:whole")
@pytest.mark.parametrize(
    ("given", "passed_on"),
    [
        (data_url(PNG), data_url(PNG)),
        (data_url(JPEG, "image/jpeg"), data_url(JPEG, "image/jpeg")),
        (data_url(JPEG, "image/jpg"), data_url(JPEG, "image/jpeg")),
        (data_url(GIF, "image/gif"), data_url(GIF, "image/gif")),
        (data_url(WEBP, "image/webp"), data_url(WEBP, "image/webp")),
        ("DATA:IMAGE/PNG;charset=x;BASE64," + data_url(PNG).partition(",")[2], data_url(PNG)),
        ("https://a.example/b.png?c=d", "https://a.example/b.png?c=d"),
        ("HTTPS://a.example", "HTTPS://a.example"),
    ],
)
def test_image_is_passed_on(api: str, given: str, passed_on: str) -> None:
    (message,) = parsed(api, {"messages": [image(given, detail="high")]}).messages
    assert message == UserMessage(
        (TextPart("What is this?"), ImagePart(url=passed_on, detail="high"))
    )


@both
@pytest.mark.promise("content:whole")
def test_file_is_passed_on(api: str) -> None:
    pdf, text = data_url(PDF, "application/pdf"), data_url(b"a,b", "text/csv")
    messages = [file(file_data=pdf, filename="a.pdf"), file(file_data=text)]
    prompt = parsed(api, {"messages": messages})
    assert [message.content[1] for message in prompt.messages if isinstance(message, UserMessage)] == [
        FilePart(url=pdf, filename="a.pdf"),
        FilePart(url=text),
    ]  # fmt: skip


@both
def test_text_parts_are_joined_and_empty_ones_left_out(api: str) -> None:
    text = {"type": "text", "text": "a"}
    empty = {"type": "text", "text": ""}
    prompt = parsed(api, {"messages": [{"role": "user", "content": [text, text]}, asking(empty)]})
    assert prompt.messages == (UserMessage("a\na"), UserMessage("What is this?\n"))
    picture = {"type": "image_url", "image_url": {"url": data_url(PNG)}}
    prompt = parsed(api, {"messages": [{"role": "user", "content": [empty, picture]}]})
    assert prompt.messages == (UserMessage((ImagePart(url=data_url(PNG)),)),)


@both
@pytest.mark.parametrize("value", [None, [], ""])
def test_empty_fields_of_other_roles_ask_for_nothing(api: str, value: object) -> None:
    message = {**HI, "tool_calls": value or None, "refusal": None, "tool_call_id": value or None}
    assert parsed(api, {"messages": [message]}).messages == (UserMessage("hi"),)


def test_null_parameter_counts_as_missing() -> None:
    nulls = dict.fromkeys(
        set(RequestFields.__struct_fields__) - {"messages", "system", "metadata", "fault"}
    )
    request = NATIVE.parse(Body(msgspec.json.encode({**nulls, "messages": [HI]})))
    assert request == NATIVE.parse(Body(msgspec.json.encode({"messages": [HI]})))


@both
@pytest.mark.parametrize(
    ("fields", "format_"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, JsonFormat()),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
            JsonFormat(schema={}, name="a"),
        ),
    ],
)
def test_formats_are_read(api: str, fields: dict[str, Any], format_: JsonFormat | None) -> None:
    assert parsed(api, {"messages": [HI], **fields}).response_format == format_


@both
@pytest.mark.parametrize("choice", ["auto", "none"])
def test_choice_between_no_tools_asks_for_nothing(api: str, choice: str) -> None:
    """Some clients send it with every request."""
    body = {"messages": [HI], "tools": [], "tool_choice": choice, "parallel_tool_calls": False}
    prompt = parsed(api, body)
    assert (prompt.tools, prompt.tool_choice, prompt.parallel_tool_calls) == ((), None, None)
    prompt = parsed(api, {**body, "tools": [tool(parameters={})]})
    assert (prompt.tools[0].parameters, prompt.tool_choice) == (None, choice)


def _turns(*turns: Mapping[str, Any]) -> dict[str, Any]:
    return {"messages": [HI, *turns]}


def _tools(*tools: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    return {"messages": [HI], "tools": list(tools), **fields}


CALL_PATH = "messages[1].tool_calls[0]"
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    # results and calls
    (_turns(result("a")), "messages[1].tool_call_id", "no call 'a'"),
    (_turns({"role": "tool", "content": "7"}), "messages[1].tool_call_id", "is missing"),
    (_turns(calling(call("a")), result("b")), "messages[2].tool_call_id", "no call 'b'"),
    (_turns(calling(call("a")), result("a"), result("a")), "messages[3].tool_call_id", "already"),
    (_turns(calling(call("a")), HI), CALL_PATH, "'a' has no result"),
    (_turns(calling(call("a"))), CALL_PATH, "'a' has no result"),
    (_turns(calling(call("a"), call("b")), result("a"), HI), "messages[1].tool_calls[1]", "'b' has no result"),
    (_turns(calling(call("a")), {"role": "assistant", "content": "Hm."}, result("a")), CALL_PATH, "no result"),
    (_turns(calling(call("a"), call("a"))), "messages[1].tool_calls[1].id", "another call"),
    (_turns(calling(call(""))), f"{CALL_PATH}.id", "empty"),
    (_turns(calling(call("a", "get weather"))), f"{CALL_PATH}.function.name", "letters"),
    (_turns(calling(call("a", arguments="Paris"))), f"{CALL_PATH}.function.arguments", "JSON object"),
    (_turns(calling(call("a", arguments='["Paris"]'))), f"{CALL_PATH}.function.arguments", "JSON object"),
    (_turns(calling(call("a", arguments='{"a": 1'))), f"{CALL_PATH}.function.arguments", "JSON object"),
    (_turns(calling(call("a", arguments='{"a":' + "[" * 9000))), f"{CALL_PATH}.function.arguments", "JSON object"),
    (_turns(calling(call("a", arguments='{"a": NaN}'))), f"{CALL_PATH}.function.arguments", "JSON object"),
    (_turns(calling({**call("a"), "type": "custom"})), f"{CALL_PATH}.type", "accepted: function"),
    (_turns({**HI, "tool_calls": [call("a")]}), "messages[1].tool_calls", "only assistant messages"),
    (_turns({**HI, "refusal": "No."}), "messages[1].refusal", "only assistant messages"),
    (_turns({**HI, "tool_call_id": "a"}), "messages[1].tool_call_id", "only tool messages"),
    (_turns({"role": "function", "name": "a", "content": "7"}), "messages[1].role", ""),
    # tools
    (_tools(tool("get weather")), "tools[0].function.name", "letters"),
    (_tools(tool("a" * 65)), "tools[0].function.name", "1 to 64"),
    (_tools(tool("a\n")), "tools[0].function.name", "letters"),
    (_tools(tool("")), "tools[0].function.name", "letters"),
    (_tools(tool("a"), tool("a")), "tools[1].function.name", "two tools named 'a'"),
    (_tools(*(tool(f"t{n}") for n in range(200))), "tools", "<= 128"),
    (_tools({"type": "web_search"}), "tools[0].type", "accepted: function"),
    (_tools({"type": "function"}), "tools[0].function", "missing"),
    (_tools({"type": "custom", "function": {"name": "a"}}), "tools[0].type", "accepted: function"),
    (_tools(tool(parameters={"type": "array"})), "tools[0].function.parameters", "'object'"),
    (_tools(tool(parameters={"type": "objekt"})), "tools[0].function.parameters", "'#/type'"),
    (_tools(tool(parameters=[])), "tools[0].function.parameters", "expected object"),
    (_tools(tool("a"), tool_choice={"type": "function", "function": {"name": "b"}}), "tool_choice.function.name", "no tool named 'b'"),
    ({"messages": [HI], "tool_choice": "required"}, "tool_choice", "'tools'"),
    (_tools(tool("a"), tool_choice="any"), "tool_choice", "accepted: auto, none, required"),
    (_tools(tool("a"), tool_choice={"type": "allowed_tools", "function": {"name": "a"}}), "tool_choice.type", "accepted: function"),
    # formats and parameters
    ({"messages": [HI], "response_format": {"type": "xml"}}, "response_format.type", "accepted: json_object, json_schema, text"),
    ({"messages": [HI], "response_format": schema_format({}, name="an answer")}, "response_format.json_schema.name", "letters"),
    ({"messages": [HI], "response_format": schema_format({"$ref": "#"})}, "response_format.json_schema.schema", "itself"),
    ({"messages": [HI], "top_logprobs": 2}, "top_logprobs", "'logprobs'"),
    ({"messages": [HI], "reasoning_effort": "extreme"}, "reasoning_effort", "accepted: high, low, max"),
    ({"messages": [HI], "top_p": 1.5}, "top_p", "<= 1"),
    ({"messages": [HI], "repetition_penalty": 0}, "repetition_penalty", "> 0"),
    ({"messages": [HI], "prediction": {"type": "content", "content": 7}}, "prediction.content", "string or array"),
    # parts
    (_turns(asking({"type": "input_audio", "input_audio": {}})), "messages[1].content[1].type", "accepted: file, image_url, refusal, text"),
    (_turns(asking({"type": "video"})), "messages[1].content[1].type", "accepted: file, image_url, refusal, text"),
    (_turns(asking({"type": "refusal", "refusal": "No."})), "messages[1].content[1].type", "only assistant messages"),
    (_turns({**image("https://a.example"), "role": "assistant"}), "messages[1].content[1].type", "'text' and 'refusal'"),
    (_turns({**image("https://a.example"), "role": "system"}), "messages[1].content[1].type", "'text'"),
    # images and files
    *(
        (_turns(image(url)), "messages[1].content[1].image_url.url", why)
        for url, why in (
            ("http://a.example/b.png", "the scheme 'http' is not supported"),
            ("file:///etc/passwd", "the scheme 'file' is not supported"),
            ("gs://bucket/b.png", "the scheme 'gs' is not supported"),
            ("https:///b.png", "not an address"),
            ("https://a.example/b c", "not an address"),
            ("https://a.example/\0b", "not an address"),
            ("https://a\x7f.example", "not an address"),
            ("a.example/b.png", "not an address"),
            ("", "not an address"),
            ("https://a.example/" + "b" * 9000, "at most 8192 characters"),
            ("data:image/png,abc", "data URL in base64"),
            ("data:,", "data URL in base64"),
            ("data:image/" + "p" * 128 + ";base64,", "data URL in base64"),
            ("data:" + "i" * 128 + "/png;base64,", "data URL in base64"),
            (data_url(PNG, "image/svg+xml"), "image/svg+xml is not supported"),
            (data_url(PNG, "image/jpeg"), "the data is not image/jpeg"),
            (data_url(b"GIF88a", "image/gif"), "the data is not image/gif"),
            (data_url(PNG) + "*", "not base64"),
            ("data:image/png;base64,é", "not base64"),
            ("data:image/png;base64,", "empty"),
        )
    ),
    (_turns(image("https://a.example", detail="huge")), "messages[1].content[1].image_url.detail", "accepted: auto, high, low"),
    (_turns(file(file_id="file-1")), "messages[1].content[1].file.file_id", "'file_data'"),
    (_turns(file(filename="a")), "messages[1].content[1].file.file_data", "missing"),
    (_turns(file(file_data="https://a.example")), "messages[1].content[1].file.file_data", "data URL"),
    (_turns(file(file_data=data_url(PNG, "application/pdf"))), "messages[1].content[1].file.file_data", "not application/pdf"),
]  # fmt: skip


@both
@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(("body", "field", "why"), REFUSED)
def test_mistake_is_refused_with_the_name_of_its_field(
    api: str, body: dict[str, Any], field: str, why: str
) -> None:
    found, sentence = refusal(api, body)
    assert found == field
    assert why in sentence
    assert len(sentence) < 250


TOO_LARGE: list[tuple[dict[str, Any], str, str]] = [
    (_turns(image(data_url(PNG + bytes(1000)))), "messages[1].content[1].image_url.url", "limits.max_image_bytes"),
    (_turns(file(file_data=data_url(PDF + bytes(2000), "application/pdf"))), "messages[1].content[1].file.file_data", "limits.max_file_bytes"),
    (_turns(*[image("https://a.example")] * 3), "messages[3].content[1].image_url.url", "limits.max_images"),
    ({"messages": [HI], "tools": [tool(description="x" * 400_000)]}, "messages", "limits.max_prompt_chars"),
]  # fmt: skip


@both
@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(("body", "field", "setting"), TOO_LARGE)
def test_what_is_too_large_names_its_limit(
    api: str, body: dict[str, Any], field: str, setting: str
) -> None:
    found, sentence = refusal(api, body, RequestTooLarge)
    assert found == field
    assert setting in sentence


@both
def test_image_of_just_the_limit_is_accepted(api: str) -> None:
    for size in range(998, 1001):
        url = data_url(PNG.ljust(size, b"\0"))
        assert len(parsed(api, {"messages": [image(url)]}).messages) == 1
    _, sentence = refusal(
        api, {"messages": [image(data_url(PNG.ljust(1001, b"\0")))]}, RequestTooLarge
    )
    assert "1000 bytes" in sentence


@pytest.mark.promise("content:whole")
def test_unknown_fields_of_a_chat_completion_go_to_an_entry_that_allows_them() -> None:
    body = {"model": "open", "messages": [HI], "mirostat": 2, "best_of": None}
    prompt = OPENAI.parse(Body(msgspec.json.encode(body))).generation.prompt
    assert prompt.extra_body == {"mirostat": 2}
    field, sentence = refusal("openai", {"messages": [HI], "mirostat": 2})
    assert (field, sentence) == ("mirostat", "Unsupported parameter: 'mirostat'.")


def test_what_sdks_add_to_messages_is_ignored() -> None:
    """The helpers of openai-python and openai-node send their own fields back with a message."""
    function = {"name": "get_weather", "arguments": "{}", "parsed_arguments": {}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]},
        calling({"id": "a", "type": "function", "index": 0, "function": function}, parsed=None, annotations=[], audio=None),
        result("a"),
    ]  # fmt: skip
    prompt = parsed("openai", {"messages": messages, "tools": [{**WEATHER, "cache_control": {}}]})
    assert len(prompt.messages) == 3


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("field", "value", "instead"),
    [
        ("functions", [{"name": "a"}], "use 'tools'"),
        ("function_call", {"name": "a"}, "use 'tool_choice'"),
        ("audio", {"voice": "a"}, "answers are text"),
        ("web_search_options", {}, "use 'tools'"),
        ("modalities", ["audio"], 'accepted: ["text"]'),
        ("n", 2, "accepted: 1"),
    ],
)
def test_field_of_chat_completions_is_refused_with_what_to_use(
    field: str, value: object, instead: str
) -> None:
    found, sentence = refusal("openai", {"messages": [HI], field: value})
    assert (found, instead in sentence) == (field, True)


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("message", "field", "instead"),
    [
        ({**HI, "function_call": {"name": "a"}}, "messages[0].function_call", "use 'tool_calls'"),
        ({**HI, "audio": {"id": "a"}}, "messages[0].audio", "text, images and files"),
        ({**HI, "extra_content": {"google": {}}}, "messages[0].extra_content", "only assistant"),
        ({**HI, "extra_content": 7}, "messages[0].extra_content", "only assistant"),
        (calling(extra_content=7), "messages[0].extra_content", "an object"),
        (
            calling({**call("a"), "extra_content": 7}),
            "messages[0].tool_calls[0].extra_content",
            "an object",
        ),
        (
            asking({"type": "input_audio", "input_audio": {}}),
            "messages[0].content[1].type",
            "'input_audio' is not supported",
        ),
    ],
)
def test_part_of_a_chat_message_is_refused_with_what_to_use(
    message: dict[str, Any], field: str, instead: str
) -> None:
    found, sentence = refusal("openai", {"messages": [message]})
    assert (found, instead in sentence) == (field, True)
