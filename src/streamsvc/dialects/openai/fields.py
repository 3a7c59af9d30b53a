"""The fields of OpenAI's requests: which are read, which are ignored, and how the others are refused.

The fields are those of openai-python, `types/chat/completion_create_params.py`. A null field counts as not given.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from streamsvc.dialects.invalid import quoted, unknown_field
from streamsvc.dialects.request import GraceSeconds, SharedFields, TokenCount
from streamsvc.errors import InvalidField


class Fields(msgspec.Struct, frozen=True):
    """The fields of an object that clients send.

    Attributes:
        known: what is read.
        ignored: what can be left out without changing the answer.
        neutral: values that change nothing, by field; some clients always send them. Any other value is refused.
        instead: what to use in place of a field that is refused.
    """

    known: Collection[str]
    ignored: Collection[str] = ()
    neutral: Mapping[str, tuple[Any, ...]] = {}
    instead: Mapping[str, str] = {}

    def asked(self, given: Mapping[str, Any], path: str) -> dict[str, Any]:
        """Return the known fields that were given.

        Args:
            given: an object that a client sent.
            path: where it is in the body, with a dot at the end.

        Raises:
            InvalidField: there is a field that is not supported.
        """
        asked, unknown = self.split(given, path)
        for name in unknown:
            raise self.unsupported(name, path)
        return asked

    def split(
        self, given: Mapping[str, Any], path: str = ""
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the known fields that were given, and the unknown ones.

        Raises:
            InvalidField: a field of OpenAI's API asks for something that is not supported.
        """
        asked, unknown = {}, {}
        for name, value in given.items():
            if value is None or name in self.ignored or value in self.neutral.get(name, ()):
                continue
            if name in self.known:
                asked[name] = value
            elif name in self.neutral or name in self.instead:
                raise self.unsupported(name, path)
            else:
                unknown[name] = value
        return asked, unknown

    def unsupported(self, name: str, path: str = "") -> InvalidField:
        """Return the refusal of a field."""
        accepted = [json.dumps(value) for value in self.neutral.get(name, ()) if value]
        hint = self.instead.get(name) or (f"accepted: {', '.join(accepted)}" if accepted else "")
        if not hint:
            sentence = "Unsupported parameter:"
            return unknown_field(f"{path}{name}", tuple(self.known), sentence=sentence)
        sentence = f"Unsupported parameter: {quoted(path + name)}; {hint}."
        return InvalidField(sentence, field=f"{path}{name}")


class StreamOptions(msgspec.Struct, frozen=True):
    """The supported options of a stream."""

    include_usage: bool = False


class RequestBody(SharedFields, kw_only=True):
    """The fields of a request that are read, without those that change nothing."""

    model: str = ""
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    max_completion_tokens: TokenCount | None = None
    grace_seconds: GraceSeconds = 0.0


_CACHE_HINTS = ("cache_control", "prompt_cache_breakpoint")
"""Anthropic's and OpenAI's marks of where a prompt may be cached. No answer depends on them."""

BODY = Fields(
    known=RequestBody.__struct_fields__,
    ignored=("prompt_cache_options",),
    neutral={
        "function_call": ("none", "auto"),
        "functions": ([],),
        "modalities": (["text"],),
        "n": (1,),
    },
    instead={
        "audio": "answers are text",
        "function_call": "use 'tool_choice'",
        "functions": "use 'tools'",
        "web_search_options": "the service does not search; use 'tools'",
    },
)
STREAM_OPTIONS = Fields(known=("include_usage",), neutral={"include_obfuscation": (False,)})
REASONING = ("reasoning", "reasoning_content", "reasoning_details")
"""Fields of an answer's message; the reasoning before tool calls is kept."""

MESSAGE = Fields(
    known=("role", "content", "name", "refusal", "tool_calls", "tool_call_id", "extra_content"),
    # Parts of an answer that clients send back with it: of ours, of other servers, and of the SDKs' helpers.
    ignored=(
        "annotations",
        "parsed",
        *REASONING,
        *_CACHE_HINTS,
    ),
    neutral={"audio": (), "function_call": ()},
    instead={"audio": "messages are text, images and files", "function_call": "use 'tool_calls'"},
)
PART_TYPES = ("text", "image_url", "file", "refusal")
PART = Fields(known=("type", *PART_TYPES), ignored=_CACHE_HINTS)
TOOL_CALL = Fields(known=("id", "type", "function", "extra_content"), ignored=("index",))
FUNCTION_CALL = Fields(known=("name", "arguments"), ignored=("parsed_arguments",))
TOOL = Fields(known=("type", "function"), ignored=_CACHE_HINTS)
