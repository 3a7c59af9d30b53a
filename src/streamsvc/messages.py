"""What a client asks for, in one form for every provider.

Values only: nothing here knows HTTP, a provider's API or the settings.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from streamsvc.script import Script
from streamsvc.tracecontext import GenerationTrace

ProviderData = Mapping[str, Any]
"""What a provider wants back with a later request, by vendor: `{"google": {"thought_signature": "…"}}`. Opaque to
everything but the adapters."""


COMPATIBLE = "compatible"
"""The vendor key of the reasoning before tool calls, in the fields that servers compatible with OpenAI's API share:
`reasoning_content`, `reasoning`, `reasoning_details`."""


class TextPart(msgspec.Struct, frozen=True, tag="text"):
    """Text in a message that also has other parts."""

    text: str


class ImagePart(msgspec.Struct, frozen=True, kw_only=True, tag="image"):
    """A picture.

    Attributes:
        url: an `https` URL, which is passed on and never fetched here, or a data URL (RFC 2397).
        detail: how closely the model should look; None leaves it to the model.
    """

    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class FilePart(msgspec.Struct, frozen=True, kw_only=True, tag="file"):
    """A document, for providers that accept it.

    Attributes:
        url: a data URL (RFC 2397).
        filename: its name; may be empty.
    """

    url: str
    filename: str = ""


Part = TextPart | ImagePart | FilePart
"""A piece of a user's message."""

Content = str | tuple[Part, ...]
"""The content of a user's message: text, or text with images and files."""


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that the model asked for in an earlier turn.

    Attributes:
        id: the result refers to it.
        name: the tool's.
        arguments: a JSON object, as text.
        provider_data: what the provider wants back with this call.
    """

    id: str
    name: str
    arguments: str
    provider_data: ProviderData = {}


class UserMessage(msgspec.Struct, frozen=True, tag="user"):
    """A turn of the user; `name` distinguishes users, for providers that use it."""

    content: Content
    name: str = ""


class AssistantMessage(msgspec.Struct, frozen=True, tag="assistant"):
    """A turn of the model: text, tool calls, or both.

    Attributes:
        content: the text.
        tool_calls: the calls, in order. Each has its result in one of the following messages.
        refusal: the sentence with which the model refused, in place of an answer.
        name: distinguishes assistants.
        provider_data: what the provider wants back with this turn.
    """

    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    refusal: str = ""
    name: str = ""
    provider_data: ProviderData = {}


class ToolMessage(msgspec.Struct, frozen=True, kw_only=True, tag="tool"):
    """The result of a tool call.

    Attributes:
        tool_call_id: the id of a call in an earlier `AssistantMessage`.
        name: the tool's name, taken from that call.
        content: the result: JSON or text.
    """

    tool_call_id: str
    name: str
    content: str


Message = UserMessage | AssistantMessage | ToolMessage
"""One turn of the conversation."""


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A function that the model may call.

    Attributes:
        name: letters, digits, `_` and `-`.
        description: what it does, for the model.
        parameters: the JSON Schema of its arguments, of type `object`; None: it takes no arguments.
        strict: whether the arguments must follow the schema exactly; None leaves it to the provider.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] | None = None
    strict: bool | None = None


class NamedTool(msgspec.Struct, frozen=True):
    """The choice of one tool, which the model must call."""

    name: str


ToolChoice = Literal["auto", "none", "required"] | NamedTool
"""Whether the model may, must not or must call a tool."""


class JsonFormat(msgspec.Struct, frozen=True, kw_only=True):
    """The answer must be JSON.

    Attributes:
        schema: the JSON Schema that it follows; None: any JSON object.
        name: of the schema; empty if there is none.
        description: what the answer is for, for the model.
        strict: whether the answer must follow the schema exactly; None leaves it to the provider.
    """

    schema: Mapping[str, Any] | None = None
    name: str = ""
    description: str = ""
    strict: bool | None = None


ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Verbosity = Literal["low", "medium", "high"]


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is asked. A parameter that is None or empty is left to the model.

    Attributes:
        messages: the turns, oldest first; at least one.
        system: the system prompt, or empty.
        temperature: sampling temperature, 0 to 2.
        top_p: nucleus sampling, 0 to 1.
        top_k: sample from this many tokens.
        min_p: leave out tokens less likely than this fraction of the most likely one, 0 to 1.
        frequency_penalty: against repeating words, -2 to 2.
        presence_penalty: against repeating topics, -2 to 2.
        repetition_penalty: the equivalent for local servers, above 0; 1 changes nothing.
        logit_bias: -100 to 100 by token id.
        max_tokens: upper limit for the answer, in the model's tokens.
        stop: sequences that end the answer and are not part of it.
        seed: asks the model for repeatable answers, as far as it supports them.
        logprobs: whether to return how likely each token was.
        top_logprobs: for how many alternatives of each token.
        reasoning_effort: how much the model may reason.
        verbosity: roughly how long the answer should be.
        response_format: requires the answer to be JSON.
        prediction: text that the answer is expected to repeat for the most part.
        tools: the tools that the model may call.
        tool_choice: whether it must call one.
        parallel_tool_calls: whether it may call several at once.
        user: the end user, for the provider's accounting (OpenAI's `user`).
        safety_identifier: the end user, for the provider's abuse detection.
        prompt_cache_key: groups requests whose prompts begin the same way.
        prompt_cache_retention: how long the provider should keep the prompt's beginning.
        service_tier: the provider's price and speed class.
        store: whether the provider may keep the answer.
        extra_body: additional fields for the provider's API, passed on as they are.
        model: a model other than the entry's; empty: the entry's.
        fault: the name of the fault that the fake provider simulates; empty: as configured.
        script: the answer that the fake provider gives; empty: as configured.
        call: the number of this call for the same answer, from 1. Used by the fake provider, some of whose
            faults only affect the first call.
        trace: the `traceparent` of this call, for the upstream; "" if it is not traced.
    """

    messages: tuple[Message, ...]
    system: str = ""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: Mapping[str, float] = {}
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    logprobs: bool = False
    top_logprobs: int | None = None
    reasoning_effort: ReasoningEffort | None = None
    verbosity: Verbosity | None = None
    response_format: JsonFormat | None = None
    prediction: str = ""
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    user: str = ""
    safety_identifier: str = ""
    prompt_cache_key: str = ""
    prompt_cache_retention: str = ""
    service_tier: str = ""
    store: bool | None = None
    extra_body: Mapping[str, Any] = {}
    model: str = ""
    fault: str = ""
    script: Script = ()
    call: int = 1
    trace: str = ""


class GenerationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a client wants generated, as accepted.

    Attributes:
        prompt: what the model is asked.
        provider: the name of the requested provider entry.
        is_usual: whether the settings have chosen that entry, because the client has named none.
        grace_seconds: how long to continue without viewers; None: as configured.
        metadata: the client's own pairs, returned in the `Start`.
        principal: the name of whose it is.
        trace: its span; None if it is not traced.
    """

    prompt: Prompt
    provider: str
    is_usual: bool = False
    grace_seconds: float | None = None
    metadata: dict[str, str] = {}
    principal: str = ""
    trace: GenerationTrace | None = None


def parts_of(content: Content) -> tuple[Part, ...]:
    """Return a user's content as parts; plain text is one part."""
    return (TextPart(content),) if isinstance(content, str) else content


def words_of(content: Content) -> str:
    """Return the text of a user's content, with a line break between parts; images and files have no text."""
    if isinstance(content, str):
        return content
    return "\n".join(part.text for part in content if isinstance(part, TextPart))


def inline_data(url: str) -> tuple[str, str] | None:
    """Return the media type and the base64 text of a data URL, or None for any other URL.

    Data URLs are checked where requests are read: they are in base64, and name a media type.
    """
    if not url.startswith("data:"):
        return None
    head, _, data = url.removeprefix("data:").partition(",")
    return head.partition(";")[0], data


def data_bytes(prompt: Prompt) -> int:
    """Return the size of a prompt's images and files, in base64 as they are kept."""
    turns = (turn for turn in prompt.messages if isinstance(turn, UserMessage))
    parts = (part for turn in turns for part in parts_of(turn.content))
    return sum(len(part.url) for part in parts if not isinstance(part, TextPart))


def texts_of(prompt: Prompt) -> list[str]:
    """Return all text that the model gets: instructions, messages, calls, results, schemas; no images or files."""
    texts = [prompt.system]
    for message in prompt.messages:
        match message:
            case UserMessage(content=content):
                texts.append(words_of(content))
            case AssistantMessage(content=content, refusal=refusal, tool_calls=calls):
                texts += (content, refusal)
                texts += (text for call in calls for text in (call.name, call.arguments))
            case ToolMessage(content=content):
                texts.append(content)
    schemas: list[object] = [tool.parameters for tool in prompt.tools if tool.parameters]
    if prompt.response_format and prompt.response_format.schema:
        schemas.append(prompt.response_format.schema)
    texts += (text for tool in prompt.tools for text in (tool.name, tool.description))
    texts += (msgspec.json.encode(schema).decode() for schema in schemas)
    return [text for text in texts if text]


def count_words(prompt: Prompt) -> int:
    """Return how many words a prompt has: its tokens, for a provider that counts words."""
    return sum(len(text.split()) for text in texts_of(prompt))
