"""Fits a prompt to an entry: what its API lacks is found, what may be left out is left out."""

from collections.abc import Iterator, Mapping
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from streamsvc.config.provider_settings import ParameterName, ProviderSettings
from streamsvc.messages import (
    AssistantMessage,
    FilePart,
    ImagePart,
    Message,
    Part,
    Prompt,
    ToolMessage,
    UserMessage,
)
from streamsvc.providers.parameters import IN_WORDS, TABLE, fate_of, may_drop

_NEUTRAL: Mapping[ParameterName, tuple[Any, ...]] = {
    "top_p": (1,),
    "min_p": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
    "tool_choice": ("auto",),
    "parallel_tool_calls": (True,),
    "service_tier": ("auto", "default"),
    "store": (False,),
}
"""Values that ask for nothing: what an API does without the parameter. Some clients always send them."""

IN_MESSAGES: frozenset[ParameterName] = frozenset(IN_WORDS)
_OF_PROMPT: tuple[ParameterName, ...] = tuple(name for name in TABLE if name not in IN_MESSAGES)
_values = attrgetter(*_OF_PROMPT)
_PLAIN = _values(Prompt(messages=()))
_DEFAULTS: Mapping[str, Any] = dict(zip(_OF_PROMPT, _PLAIN, strict=True))


class Fit(NamedTuple):
    """A prompt as an entry can take it.

    Attributes:
        prompt: without what is dropped.
        lacked: what the entry lacks and does not drop; it must not be called.
        dropped: what is left out.
        adjusted: the values that are used instead of the wanted ones.
    """

    prompt: Prompt
    lacked: tuple[ParameterName, ...] = ()
    dropped: tuple[ParameterName, ...] = ()
    adjusted: Mapping[str, str] = {}


def fit(prompt: Prompt, section: ProviderSettings, *, kind: str = "") -> Fit:
    """Return what an entry makes of a prompt.

    Args:
        prompt: the request; its model is the one that the entry is asked for, if it names one.
        section: the entry's settings.
        kind: of the requested entry, if this is a fallback: `extra_body` is for that kind of API only.
    """
    lacked: list[ParameterName] = []
    dropped: list[ParameterName] = []
    adjusted: dict[str, str] = {}
    for name, value in asked(prompt):
        fate = fate_of(name, section, kind=kind)
        if fate.nearest:
            used = fate.nearest(value, prompt.model or section.model)
            if used != value:
                adjusted[name] = used
        elif fate.what == "left_out":
            dropped.append(name)
        elif fate.what == "lacked" or (fate.values and value not in fate.values):
            (dropped if may_drop(name, section) else lacked).append(name)
    if dropped:
        prompt = _without(prompt, dropped)
    return Fit(prompt, tuple(lacked), tuple(dropped), adjusted)


def asked(prompt: Prompt) -> Iterator[tuple[ParameterName, Any]]:
    """Yield the parameters that a prompt asks for, with their values; for content, the value is True."""
    values = _values(prompt)
    for name, value in zip(_OF_PROMPT, values, strict=True) if values != _PLAIN else ():
        if value != _DEFAULTS[name] and value not in _NEUTRAL.get(name, ()):
            yield name, value
    special = [
        message
        for message in prompt.messages
        if not isinstance(message, ToolMessage)
        and (message.name or not isinstance(message.content, str))
    ]
    if special:
        found = set(chain.from_iterable(map(_in_message, special)))
        yield from ((name, True) for name in TABLE if name in found)


def _in_message(message: UserMessage | AssistantMessage) -> Iterator[ParameterName]:
    if message.name:
        yield "name"
    if not isinstance(message.content, str):
        yield from _in_parts(message.content)


def _in_parts(parts: tuple[Part, ...]) -> Iterator[ParameterName]:
    for part in parts:
        if isinstance(part, ImagePart):
            yield "image_url" if part.url.startswith("data:") else "https_image_url"
            if part.detail not in {None, "auto"}:
                yield "detail"
        elif isinstance(part, FilePart):
            yield "file"


def _without(prompt: Prompt, names: list[ParameterName]) -> Prompt:
    """Return a prompt without some of its parameters."""
    changes: dict[str, Any] = {name: _DEFAULTS[name] for name in names if name not in IN_MESSAGES}
    if not IN_MESSAGES.isdisjoint(names):
        changes["messages"] = tuple(_plain(message, names) for message in prompt.messages)
    return msgspec.structs.replace(prompt, **changes)


def _plain(message: Message, names: list[ParameterName]) -> Message:
    """Return a message without its name or without the detail of its images."""
    if "name" in names and isinstance(message, UserMessage | AssistantMessage):
        message = msgspec.structs.replace(message, name="")
    if (
        "detail" in names
        and isinstance(message, UserMessage)
        and isinstance(message.content, tuple)
    ):
        parts = tuple(
            msgspec.structs.replace(part, detail=None) if isinstance(part, ImagePart) else part
            for part in message.content
        )
        message = msgspec.structs.replace(message, content=parts)
    return message
