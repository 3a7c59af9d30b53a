"""The fields of OpenAI's requests: which are supported, which are ignored, and how the others are refused.

The fields are those of openai-python, `types/chat/completion_create_params.py`. A null field counts as not given.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from streamsvc.dialects.invalid import quoted, unknown_field
from streamsvc.dialects.request import (
    GraceSeconds,
    Metadata,
    Seed,
    StopSequences,
    Temperature,
    TokenCount,
)
from streamsvc.errors import InvalidField


class Fields(msgspec.Struct, frozen=True):
    """The fields of an object that clients send.

    Attributes:
        known: what is supported.
        ignored: what can be left out without changing the answer.
        neutral: values that change nothing, by field; some clients always send them. Any other value is refused.
    """

    known: Collection[str]
    ignored: Collection[str] = ()
    neutral: Mapping[str, tuple[Any, ...]] = {}

    def asked(self, given: Mapping[str, Any], path: str = "") -> dict[str, Any]:
        """Return the supported fields that were given.

        Raises:
            InvalidField: a field asks for something that is not supported.
        """
        asked = {}
        for name, value in given.items():
            if name in self.known and value is not None:
                asked[name] = value
            elif not (value is None or name in self.ignored or value in self.neutral.get(name, ())):
                raise self._refusal(name, path)
        return asked

    def _refusal(self, name: str, path: str) -> InvalidField:
        accepted = [json.dumps(value) for value in self.neutral.get(name, ()) if value]
        if not accepted:
            known = () if path else tuple(self.known)
            return unknown_field(f"{path}{name}", known, sentence="Unsupported parameter:")
        sentence = f"Unsupported parameter: {quoted(path + name)}; accepted: {', '.join(accepted)}."
        return InvalidField(sentence, field=f"{path}{name}")


class StreamOptions(msgspec.Struct, frozen=True):
    """The supported options of a stream."""

    include_usage: bool = False


class RequestBody(msgspec.Struct, kw_only=True):
    """The supported fields of a request, without those that change nothing."""

    model: str = ""
    messages: list[dict[str, Any]] = []
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    temperature: Temperature | None = None
    max_tokens: TokenCount | None = None
    max_completion_tokens: TokenCount | None = None
    stop: StopSequences = []
    seed: Seed | None = None
    metadata: Metadata = {}
    grace_seconds: GraceSeconds = 0.0
    fault: str = ""


BODY = Fields(
    known=RequestBody.__struct_fields__,
    ignored=(
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "user",
    ),
    neutral={
        "frequency_penalty": (0,),
        "function_call": ("none", "auto"),
        "functions": ([],),
        "logit_bias": ({},),
        "logprobs": (False,),
        "modalities": (["text"],),
        "n": (1,),
        "presence_penalty": (0,),
        "response_format": ({"type": "text"},),
        "service_tier": ("auto", "default"),
        "store": (False,),
        "tool_choice": ("none", "auto"),
        "tools": ([],),
        "top_logprobs": (0,),
        "top_p": (1,),
        "verbosity": ("medium",),
    },
)
STREAM_OPTIONS = Fields(known=("include_usage",), neutral={"include_obfuscation": (False,)})
MESSAGE = Fields(
    known=("role", "content"),
    ignored=("reasoning_content",),  # our own output, sent back
    neutral={"annotations": ([],), "tool_calls": ([],)},
)
PART = Fields(known=("type", "text"), ignored=("prompt_cache_breakpoint",))
