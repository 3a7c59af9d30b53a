"""One table of requests: exactly what each provider sends for it, and what it must not be asked at all.

A row is what changes in the body of a plain question. None: the API lacks it, and nothing is sent.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import pytest
from provider import UPSTREAMS, UpstreamSubject, gather

from streamsvc.config.provider_settings import OpenAISettings, ParameterName
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
from streamsvc.providers.fitting import fit
from streamsvc.providers.openai.body import BodyWriter
from streamsvc.providers.parameters import TABLE, api_of, fate_of
from support.answering import answering
from support.parameters import QUESTION, prompt_with
from support.upstreams import finish, text

pytestmark = pytest.mark.usefixtures("no_certificates")

PNG, PDF = "data:image/png;base64,iVBORw0KGgo=", "data:application/pdf;base64,JVBERi0="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = Tool(name="get_weather", description="The weather.", parameters=SCHEMA, strict=True)
CLOCK = Tool(name="now")
ASKED = {"role": "user", "content": "Where is it?"}
ASKED_GEMINI = {"role": "user", "parts": [{"text": "Where is it?"}]}
PLAIN: Mapping[str, dict[str, Any]] = {
    "openai": {
        "model": "gpt-test",
        "messages": [ASKED],
        "stream": True,
        "stream_options": {"include_usage": True, "include_obfuscation": False},
    },
    "gemini": {
        "contents": [ASKED_GEMINI],
        "generationConfig": {"thinkingConfig": {"include_thoughts": True}},
    },
}
"""The body of a plain question."""

Body = dict[str, Any] | None


def config(**fields: Any) -> dict[str, Any]:
    """Return a change of Gemini's `generationConfig`."""
    return {"generationConfig": fields}


def thinking(**fields: Any) -> dict[str, Any]:
    return config(thinkingConfig={"include_thoughts": True, **fields})


PARAMETERS: Mapping[ParameterName, tuple[Body, Body]] = {
    "temperature": ({"temperature": 0.0}, config(temperature=0.0)),
    "top_p": ({"top_p": 0.5}, config(topP=0.5)),
    "top_k": ({"top_k": 40}, config(topK=40)),
    "min_p": ({"min_p": 0.1}, None),
    "frequency_penalty": ({"frequency_penalty": -1.0}, config(frequencyPenalty=-1.0)),
    "presence_penalty": ({"presence_penalty": 1.0}, config(presencePenalty=1.0)),
    "repetition_penalty": ({"repetition_penalty": 1.1}, None),
    "logit_bias": ({"logit_bias": {"50256": -100}}, None),
    "max_tokens": ({"max_completion_tokens": 5}, config(maxOutputTokens=5)),
    "stop": ({"stop": ["END"]}, config(stopSequences=["END"])),
    "seed": ({"seed": 0}, config(seed=0)),
    "logprobs": ({"logprobs": True}, config(responseLogprobs=True)),
    "top_logprobs": ({"top_logprobs": 2}, config(logprobs=2)),
    "reasoning_effort": ({"reasoning_effort": "high"}, thinking(thinkingLevel="HIGH")),
    "verbosity": ({"verbosity": "low"}, None),
    "response_format": (
        {"response_format": {"type": "json_object"}},
        config(responseMimeType="application/json"),
    ),
    "prediction": ({"prediction": {"type": "content", "content": "As before."}}, {}),
    "tools": (
        {"tools": [{"type": "function", "function": {"name": "get_weather"}}]},
        {"tools": [{"functionDeclarations": [{"name": "get_weather"}]}]},
    ),
    "tool_choice": (
        {"tool_choice": {"type": "function", "function": {"name": "get_weather"}}},
        {},  # without tools there is nothing to choose
    ),
    "parallel_tool_calls": ({"parallel_tool_calls": False}, None),
    "user": ({"user": "u-1"}, {}),
    "safety_identifier": ({"safety_identifier": "s-1"}, {}),
    "prompt_cache_key": ({"prompt_cache_key": "k"}, {}),
    "prompt_cache_retention": ({"prompt_cache_retention": "24h"}, {}),
    "service_tier": ({"service_tier": "flex"}, {"serviceTier": "flex"}),
    "store": ({"store": True}, {"store": True}),
    "extra_body": ({"guided_choice": ["a"]}, {"guided_choice": ["a"]}),
    "name": (
        {"messages": [ASKED, {"role": "user", "content": "hello", "name": "Ada"}]},
        None,
    ),
    "image_url": (
        {
            "messages": [
                ASKED,
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": PNG}}],
                },
            ]
        },
        {
            "contents": [
                ASKED_GEMINI,
                {
                    "role": "user",
                    "parts": [{"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}],
                },
            ]
        },
    ),
    "https_image_url": (
        {
            "messages": [
                ASKED,
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "https://a.test/cat.png"}}
                    ],
                },
            ]
        },
        None,
    ),
    "detail": (
        {
            "messages": [
                ASKED,
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "?"},
                        {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
                    ],
                },
            ]
        },
        None,
    ),
    "file": (
        {
            "messages": [
                ASKED,
                {"role": "user", "content": [{"type": "file", "file": {"file_data": PDF}}]},
            ]
        },
        {
            "contents": [
                ASKED_GEMINI,
                {
                    "role": "user",
                    "parts": [{"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}}],
                },
            ]
        },
    ),
}
"""Each parameter alone: what OpenAI's format and Gemini's get."""


class Row(NamedTuple):
    """A request that combines some of them.

    Attributes:
        prompt: the request.
        openai: what changes in the body of OpenAI's format.
        gemini: what changes in Gemini's.
    """

    prompt: Prompt
    openai: dict[str, Any]
    gemini: dict[str, Any]


def asking(**fields: Any) -> Prompt:
    return Prompt(**{"messages": (QUESTION,), **fields})


OPENAI_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather.",
            "parameters": SCHEMA,
            "strict": True,
        },
    },
    {"type": "function", "function": {"name": "now"}},
]
GEMINI_TOOLS = [
    {
        "functionDeclarations": [
            {
                "name": "get_weather",
                "description": "The weather.",
                "parametersJsonSchema": SCHEMA,
            },
            {"name": "now"},
        ]
    }
]


def choosing(choice: Any, openai: Any, gemini: dict[str, Any] | None) -> Row:
    """Return a request with two tools, one of them strict, and a choice."""
    chosen = {} if openai is None else {"tool_choice": openai}
    calling = {} if gemini is None else {"toolConfig": {"functionCallingConfig": gemini}}
    return Row(
        asking(tools=(WEATHER, CLOCK), tool_choice=choice),
        {"tools": OPENAI_TOOLS, **chosen},
        {"tools": GEMINI_TOOLS, **calling},
    )


CALLS = (
    ToolCall(id="call_p", name="get_weather", arguments='{"city":"Paris"}'),
    ToolCall(id="call_o", name="get_weather", arguments='{"city":"Oslo"}'),
)
ROUND_TRIP = (
    QUESTION,
    AssistantMessage("Let me see.", tool_calls=CALLS),
    ToolMessage(tool_call_id="call_p", name="get_weather", content='{"celsius":18}'),
    ToolMessage(tool_call_id="call_o", name="get_weather", content="rain"),
)

COMBINED: Mapping[str, Row] = {
    "a strict tool and no choice": choosing(None, None, {"mode": "VALIDATED"}),
    "the model chooses": choosing("auto", "auto", {"mode": "VALIDATED"}),
    "no call": choosing("none", "none", {"mode": "NONE"}),
    "any call": choosing("required", "required", {"mode": "ANY"}),
    "one call": choosing(
        NamedTool("now"),
        {"type": "function", "function": {"name": "now"}},
        {"mode": "ANY", "allowedFunctionNames": ["now"]},
    ),
    "several calls are fine": Row(
        asking(tools=(CLOCK,), parallel_tool_calls=True),
        {"tools": OPENAI_TOOLS[1:], "parallel_tool_calls": True},
        {"tools": [{"functionDeclarations": [{"name": "now"}]}]},
    ),
    "a structured answer": Row(
        asking(response_format=JsonFormat(schema=SCHEMA, name="place", strict=True)),
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "place", "schema": SCHEMA, "strict": True},
            }
        },
        config(responseMimeType="application/json", responseJsonSchema=SCHEMA),
    ),
    "a large seed": Row(asking(seed=2**40 + 7), {"seed": 2**40 + 7}, config(seed=7)),
    "the usual tier": Row(
        asking(service_tier="default"),
        {"service_tier": "default"},
        {"serviceTier": "standard"},
    ),
    "any tier": Row(asking(service_tier="auto"), {"service_tier": "auto"}, {}),
    "the least effort": Row(
        asking(reasoning_effort="none"),
        {"reasoning_effort": "none"},
        thinking(thinkingLevel="LOW"),
    ),
    "a system text": Row(
        asking(system="Be brief."),
        {"messages": [{"role": "system", "content": "Be brief."}, ASKED]},
        {"systemInstruction": {"role": "user", "parts": [{"text": "Be brief."}]}},
    ),
    "words, an image and a file": Row(
        asking(
            messages=(
                UserMessage(
                    (
                        TextPart("What is this?"),
                        ImagePart(url=PNG),
                        FilePart(url=PDF, filename="a.pdf"),
                    )
                ),
            )
        ),
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is this?"},
                        {"type": "image_url", "image_url": {"url": PNG}},
                        {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}},
                    ],
                }
            ]
        },
        {
            "contents": [
                {
                    "role": "user",
                    "parts": [
                        {"text": "What is this?"},
                        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
                        {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}},
                    ],
                }
            ]
        },
    ),
    "calls and their results": Row(
        asking(messages=ROUND_TRIP, tools=(CLOCK,)),
        {
            "tools": OPENAI_TOOLS[1:],
            "messages": [
                ASKED,
                {
                    "role": "assistant",
                    "content": "Let me see.",
                    "tool_calls": [
                        {
                            "id": call.id,
                            "type": "function",
                            "function": {"name": call.name, "arguments": call.arguments},
                        }
                        for call in CALLS
                    ],
                },
                {"role": "tool", "tool_call_id": "call_p", "content": '{"celsius":18}'},
                {"role": "tool", "tool_call_id": "call_o", "content": "rain"},
            ],
        },
        {
            "tools": [{"functionDeclarations": [{"name": "now"}]}],
            "contents": [
                ASKED_GEMINI,
                {
                    "role": "model",
                    "parts": [
                        {"text": "Let me see."},
                        {
                            "functionCall": {"name": "get_weather", "args": {"city": "Paris"}},
                            "thoughtSignature": "skip_thought_signature_validator",
                        },
                        {"functionCall": {"name": "get_weather", "args": {"city": "Oslo"}}},
                    ],
                },
                {
                    "role": "user",
                    "parts": [
                        {
                            "functionResponse": {
                                "name": "get_weather",
                                "response": {"celsius": 18},
                            }
                        },
                        {
                            "functionResponse": {
                                "name": "get_weather",
                                "response": {"result": "rain"},
                            }
                        },
                    ],
                },
            ],
        },
    ),
}
"""By what the request asks for."""


def changed(plain: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a plain question with the changes of a row."""
    body = {**plain, **changes}
    if "generationConfig" in plain:
        body["generationConfig"] = {
            **plain["generationConfig"],
            **changes.get("generationConfig", {}),
        }
    return body


async def sent(subject: UpstreamSubject, prompt: Prompt) -> Any:
    """Ask an upstream, and return the body that it gets; the answer has to be complete."""
    async with (
        subject.open(text("Here."), finish()) as (api, provider),
        answering(provider, prompt) as answer,
    ):
        _, error = await gather(answer)
        assert error is None
        assert len(api.calls) == 1
        return api.calls[0].body


every_upstream = pytest.mark.parametrize("subject", UPSTREAMS, ids=lambda subject: subject.name)


def of(subject: UpstreamSubject, row: tuple[Any, Any]) -> Any:
    return row[subject.name == "gemini"]


@every_upstream
@pytest.mark.promise("content:whole")
@pytest.mark.parametrize("name", TABLE)
async def test_each_parameter_is_sent_as_the_table_says(
    subject: UpstreamSubject, name: ParameterName
) -> None:
    section = subject.wire.entry("http://127.0.0.1:1", allow_extra_body=True)
    prompt, lacked, _, _ = fit(prompt_with(name), section)
    expected = of(subject, PARAMETERS[name])
    if expected is None:
        assert name in lacked
        return
    assert lacked == ()
    body = await sent(subject, prompt)
    assert body == changed(PLAIN[subject.name], expected)
    fate = fate_of(name, section)
    if fate.what == "sent" and fate.how.replace(".", "").replace("_", "").isalnum():
        value = body
        for field in fate.how.split("."):
            value = value[field]
        assert value is not None


@every_upstream
@pytest.mark.promise("content:whole")
@pytest.mark.parametrize("row", COMBINED.values(), ids=COMBINED)
async def test_a_request_is_sent_to_the_letter(subject: UpstreamSubject, row: Row) -> None:
    section = subject.wire.entry("http://127.0.0.1:1")
    assert fit(row.prompt, section)[:3] == (row.prompt, (), ())
    changes = row.gemini if subject.name == "gemini" else row.openai
    assert await sent(subject, row.prompt) == changed(PLAIN[subject.name], changes)


@pytest.mark.parametrize("name", TABLE)
def test_openai_itself_gets_what_compatible_servers_get(name: ParameterName) -> None:
    """Except for what it lacks."""
    section = OpenAISettings(model="gpt-test", allow_extra_body=True)
    assert api_of(section) == "openai"
    prompt, lacked, dropped, _ = fit(prompt_with(name), section)
    assert dropped == ()
    if lacked:
        assert TABLE[name]["openai"].what == "lacked"
        return
    body = json.loads(msgspec.json.encode(BodyWriter(section).body(prompt)))
    expected = changed(PLAIN["openai"], PARAMETERS[name][0] or {})
    del expected["stream_options"]
    assert body == expected
