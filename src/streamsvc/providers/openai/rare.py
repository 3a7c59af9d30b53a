"""Rare contents of OpenAI's chunks: tool calls, log probabilities, usage, and what the provider wants back.

The values may have any shape, because servers follow the API loosely. What cannot be read is skipped, unless a part of
the answer would be lost. Shapes: openai SDK, `types/chat/chat_completion_chunk.py` and `types/completion_usage.py`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from streamsvc.events import Logprobs, Usage
from streamsvc.messages import ProviderData
from streamsvc.providers import lenient
from streamsvc.providers.provider_data import STAMP, stamped
from streamsvc.providers.tool_calls import CallPiece

INNER_STAMP = "inner"
"""The note in our stamp that keeps the stamp of the upstream, if that is a service like this one."""

_CACHED = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")
_WRITTEN = ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")
"""OpenAI's names come first; then those of DeepSeek, Anthropic and the gateways that translate for them."""


def call_pieces(calls: object, function_call: object, model: str) -> list[CallPiece]:
    """Return the pieces of the tool calls in a delta or message.

    Args:
        calls: its `tool_calls`.
        function_call: a call in the form that `tool_calls` replaced; servers that send both mean the same call.
        model: the model that was asked; `provider_data` is stamped with it.

    Raises:
        UpstreamInvalid: a vendor's data is nested too deeply.
    """
    pieces = [_call_piece(it, it.get("function"), model) for it in lenient.objects(calls)]
    if not pieces:
        old = (it for it in lenient.objects(function_call) if it.get("name") or it.get("arguments"))
        pieces = [_call_piece({}, it, model) for it in old]
    return pieces


def _call_piece(call: Mapping[str, Any], function: object, model: str) -> CallPiece:
    """Return a piece of a tool call (`ChoiceDeltaToolCall`)."""
    fields = next(lenient.objects(function), {})
    return CallPiece(
        index=lenient.count(call.get("index")),
        id=lenient.word(call.get("id")),
        name=lenient.word(fields.get("name")),
        arguments=fields.get("arguments"),
        provider_data=provider_data(call.get("extra_content"), model),
    )


def provider_data(extra_content: object, model: str) -> ProviderData:
    """Return what the provider wants back, stamped; empty if there is nothing.

    Raises:
        UpstreamInvalid: it is nested too deeply.
    """
    data = lenient.opaque(extra_content)
    notes = {INNER_STAMP: data[STAMP]} if STAMP in data else {}
    return stamped(data, "openai", model, **notes) if data else {}


def logprobs(value: object) -> Logprobs | None:
    """Return the log probabilities in a choice (`ChoiceLogprobs`), if it has any."""
    fields = value if isinstance(value, dict) else {}
    content, refusal = _tokens(fields.get("content")), _tokens(fields.get("refusal"))
    return Logprobs(content, refusal) if content or refusal else None


def _tokens(value: object) -> tuple[Any, ...]:
    """Return the log probabilities of tokens (`ChatCompletionTokenLogprob`)."""
    return tuple(
        {**_token(it), "top_logprobs": [_token(top) for top in _list(it.get("top_logprobs"))]}
        for it in _list(value)
    )


def _token(value: Mapping[str, Any]) -> dict[str, Any]:
    number, units = value.get("logprob"), value.get("bytes")
    return {
        "token": lenient.word(value.get("token")) or "",
        "logprob": number if isinstance(number, int | float) else None,
        "bytes": units
        if isinstance(units, list) and all(type(it) is int for it in units)
        else None,
    }


def _list(value: object) -> Iterable[Mapping[str, Any]]:
    return lenient.objects(value) if isinstance(value, list) else ()


def usage(value: object) -> Usage | None:
    """Return the tokens that the upstream counted, if it did; an invalid count does not fail an answer."""
    counts = value if isinstance(value, dict) else {}
    input_tokens = lenient.count(counts.get("prompt_tokens"))
    output_tokens = lenient.count(counts.get("completion_tokens"))
    if input_tokens is None and output_tokens is None:
        return None
    prompt_details = next(lenient.objects(counts.get("prompt_tokens_details")), {})
    output_details = next(lenient.objects(counts.get("completion_tokens_details")), {})
    return Usage(
        input_tokens=input_tokens or 0,
        output_tokens=output_tokens or 0,
        reasoning_tokens=_count(("reasoning_tokens",), output_details, counts),
        cached_tokens=_count(_CACHED, prompt_details, counts),
        cache_write_tokens=_count(_WRITTEN, prompt_details, counts),
    )


def _count(names: Iterable[str], *tables: Mapping[str, Any]) -> int | None:
    """Return the first count under one of these names."""
    for table in tables:
        for name in names:
            if name in table and (count := lenient.count(table[name])) is not None:
                return count
    return None
