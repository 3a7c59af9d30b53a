"""Every parameter of a prompt has its place in the body of a request to Gemini."""

from typing import Any

import pytest
from google.genai import types

from streamsvc.config.provider_settings import GeminiSettings
from streamsvc.messages import JsonFormat, NamedTool, Prompt, Tool, UserMessage
from streamsvc.providers.gemini.body import request_body

ASKED = (UserMessage("Q"),)
CONTENTS = [{"parts": [{"text": "Q"}], "role": "user"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
TOOL, OTHER = Tool(name="f", description="Does f.", parameters=SCHEMA), Tool(name="g")


def body(*, settings: dict[str, Any] | None = None, **prompt: Any) -> dict[str, Any]:
    """Return the body without its contents."""
    entry = GeminiSettings(
        **{"model": "gemini-3.8-flash", "include_thoughts": False, **(settings or {})}
    )
    whole = request_body(Prompt(messages=ASKED, **prompt), entry)
    assert whole.pop("contents") == CONTENTS
    return whole


def config(**prompt: Any) -> Any:
    """Return the parameters of the answer, after the SDK has checked their names."""
    whole = body(**prompt)
    fields = whole.pop("generationConfig")
    assert whole == {}
    types.GenerationConfig.model_validate(fields)
    return fields


@pytest.mark.promise("provider:swap")
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, {}),
        ({"temperature": 0.0}, {"temperature": 0.0}),
        ({"top_p": 0.5}, {"topP": 0.5}),
        ({"top_k": 40}, {"topK": 40}),
        ({"max_tokens": 7}, {"maxOutputTokens": 7}),
        ({"stop": ("a", "b")}, {"stopSequences": ["a", "b"]}),
        ({"presence_penalty": -2.0}, {"presencePenalty": -2.0}),
        ({"frequency_penalty": 0.0}, {"frequencyPenalty": 0.0}),
        ({"seed": 0}, {"seed": 0}),
        ({"seed": 2**31}, {"seed": -(2**31)}),
        ({"logprobs": True}, {"responseLogprobs": True}),
        ({"logprobs": True, "top_logprobs": 0}, {"responseLogprobs": True}),
        ({"logprobs": True, "top_logprobs": 5}, {"responseLogprobs": True, "logprobs": 5}),
    ],
    ids=str,
)
def test_parameter_has_its_field(asked: dict[str, Any], expected: dict[str, Any]) -> None:
    assert config(**asked) == expected


@pytest.mark.parametrize(
    ("model", "effort", "include", "expected"),
    [
        ("gemini-3.8-flash", None, True, {"include_thoughts": True}),
        ("gemini-3.8-flash", "high", True, {"include_thoughts": True, "thinkingLevel": "HIGH"}),
        ("gemini-3.6-flash", "minimal", False, {"thinkingLevel": "MINIMAL"}),
        ("gemini-2.5-flash", "low", True, {"include_thoughts": True, "thinkingBudget": 1024}),
        ("gemini-2.5-flash", "none", True, {"thinkingBudget": 0}),
        ("gemini-2.0-flash", "high", False, None),
    ],
)
def test_effort_is_set_in_the_terms_of_the_model(
    model: str, effort: Any, include: Any, expected: dict[str, Any] | None
) -> None:
    """Summaries of thoughts that are turned off would be an error."""
    entry = {"model": "other", "include_thoughts": include}
    fields = config(settings=entry, model=model, reasoning_effort=effort)
    types.ThinkingConfig.model_validate(expected or {})
    assert fields.get("thinkingConfig") == expected


@pytest.mark.parametrize(
    ("wanted", "schema"),
    [
        (JsonFormat(), None),
        (JsonFormat(schema=SCHEMA, name="answer", strict=True), SCHEMA),
        (JsonFormat(schema=SCHEMA, description="D"), {"description": "D", **SCHEMA}),
        (JsonFormat(schema={"description": "S"}, description="D"), {"description": "S"}),
    ],
    ids=["any object", "schema", "described", "described itself"],
)
def test_json_answer_is_a_media_type_and_a_schema(
    wanted: JsonFormat, schema: dict[str, Any] | None
) -> None:
    expected = {} if schema is None else {"responseJsonSchema": schema}
    assert config(response_format=wanted) == {"responseMimeType": "application/json", **expected}


def test_tools_are_declared_with_their_schemas() -> None:
    declared = body(tools=(TOOL, OTHER))["tools"]
    assert declared == [
        {
            "functionDeclarations": [
                {"name": "f", "description": "Does f.", "parametersJsonSchema": SCHEMA},
                {"name": "g"},
            ]
        }
    ]
    types.Tool.model_validate(declared[0])


@pytest.mark.parametrize(
    ("choice", "strict", "expected"),
    [
        (None, None, None),
        ("auto", None, {"mode": "AUTO"}),
        ("none", True, {"mode": "NONE"}),
        ("required", None, {"mode": "ANY"}),
        (NamedTool("f"), True, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (None, True, {"mode": "VALIDATED"}),
        ("auto", True, {"mode": "VALIDATED"}),
        ("auto", False, {"mode": "AUTO"}),
    ],
)
def test_tool_choice_is_a_mode(choice: Any, strict: Any, expected: Any) -> None:
    sent = body(tools=(Tool(name="f", strict=strict), OTHER), tool_choice=choice)
    assert sent.get("toolConfig") == (expected and {"functionCallingConfig": expected})
    types.ToolConfig.model_validate(sent.get("toolConfig", {}))


def test_tool_choice_without_tools_is_not_sent() -> None:
    assert body(tool_choice="none") == {"generationConfig": {}}


@pytest.mark.parametrize(
    ("tier", "sent"),
    [
        ("", None),
        ("auto", None),
        ("default", "standard"),
        ("flex", "flex"),
        ("priority", "priority"),
    ],
)
def test_service_tier_has_googles_name(tier: str, sent: str | None) -> None:
    assert body(service_tier=tier).get("serviceTier") == sent


@pytest.mark.parametrize("store", [True, False, None])
def test_store_is_sent_only_if_given(store: Any) -> None:
    assert body(store=store).get("store") is store


# Further fields


def test_further_fields_of_the_entry_and_the_request_are_sent() -> None:
    entry = {"extra_body": {"safetySettings": [1], "cachedContent": "a"}}
    sent = body(settings=entry, extra_body={"cachedContent": "b", "labels": {"x": "y"}})
    assert sent == {
        "safetySettings": [1],
        "cachedContent": "b",
        "labels": {"x": "y"},
        "generationConfig": {},
    }


@pytest.mark.parametrize("name", ["generationConfig", "generation_config"])
def test_objects_of_further_fields_are_merged(name: str) -> None:
    extra = {name: {"temperature": 0.9, "media_resolution": "LOW", "speechConfig": {"a": 1}}}
    assert body(temperature=0.1, extra_body=extra) == {
        "generationConfig": {
            "temperature": 0.1,
            "media_resolution": "LOW",
            "speechConfig": {"a": 1},
        }
    }


@pytest.mark.parametrize("name", ["contents", "systemInstruction", "system_instruction"])
def test_conversation_is_never_replaced(name: str) -> None:
    assert body(extra_body={name: "x"}) == {"generationConfig": {}}


def test_field_of_the_prompt_is_never_replaced() -> None:
    assert body(store=False, extra_body={"store": True, "serviceTier": "flex"}) == {
        "store": False,
        "serviceTier": "flex",
        "generationConfig": {},
    }
