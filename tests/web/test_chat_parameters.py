"""Parameters and messages of a chat completion: supported, accepted without effect, or refused."""

from typing import Any

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from typing_extensions import get_type_hints

from conftest import Serve
from support.chat_completions import ASKED, BOUNDED, TURN, asking, assert_is_error, post
from support.service import Service
from support.shared import fresh_upstream, shared_service
from support.upstreams import Upstream, finish, text

service = shared_service(BOUNDED)
api = fresh_upstream()

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
    ({"messages": [{"role": "function", "content": "7", "name": "a"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    ({"messages": [{"role": "assistant", "content": "hi"}]}, "messages"),
    ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": ""}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": ["hi"]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
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
    ({"functions": [{"name": "a"}]}, "functions"),
    ({"function_call": {"name": "a"}}, "function_call"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"messages": [{**TURN, "audio": {"id": "a"}}]}, "messages[0].audio"),
    ({"messages": [{**TURN, "extra_content": []}]}, "messages[0].extra_content"),
    ({"messages": [{**TURN, "extra_content": {"google": {}}}]}, "messages[0].extra_content"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"audio": {}}, "audio"),
    ({"web_search_options": {}}, "web_search_options"),
    ({"provider": "fake"}, "provider"),
    ({"provider": {"order": ["a"]}}, "provider"),
    ({"prompt": "hi"}, "prompt"),
    ({"max_completion_tokens": 0}, "max_completion_tokens"),
    ({"max_completion_tokens": "7"}, "max_completion_tokens"),
]  # fmt: skip


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(("change", "param"), REFUSED)
async def test_unsupported_parameter_is_refused_by_name(
    service: Service, change: dict[str, Any], param: str
) -> None:
    before = len(service.log)
    answer, body = await post(service, {**ASKED, **change})
    assert_is_error(answer, body, 400, param)
    assert param.rpartition(".")[2] in body["error"]["message"]  # SDKs show nothing but the message
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


async def test_parameter_without_effect_is_accepted(service: Service) -> None:
    answer, body = await post(service, {**ASKED, **HARMLESS})
    assert (answer.status, body["choices"][0]["message"]["content"]) == (200, "One two three.")


async def test_null_counts_as_missing(service: Service) -> None:
    """For every parameter that openai-python knows."""
    nulls = dict.fromkeys(get_type_hints(CompletionCreateParamsBase), None)
    message = {**TURN, "name": None, "tool_calls": None, "refusal": None, "audio": None}
    answer, body = await post(service, {**nulls, "stream": None, **ASKED, "messages": [message]})
    assert (answer.status, body["choices"][0]["finish_reason"]) == (200, "stop")


async def test_messages_and_parameters_go_upstream(api: Upstream, serve: Serve) -> None:
    service = await serve(asking(api))
    api.script((text("One"), finish()))
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]},
        TURN,
        {"role": "assistant", "content": "Yes?", "refusal": None, "reasoning_content": "Hm.", "annotations": []},
        {"role": "user", "content": [{"type": "text", "text": "Go on."}]},
    ]  # fmt: skip
    more = {"max_completion_tokens": 7, "stop": "x", "seed": 3, "temperature": 0.5}
    answer, _ = await post(service, {**ASKED, "messages": messages, **more})
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
