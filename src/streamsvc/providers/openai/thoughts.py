"""The reasoning before tool calls, which some compatible servers need back in the next request.

DeepSeek and Moonshot refuse a conversation in which an assistant message has `tool_calls` and no `reasoning_content`
(api-docs.deepseek.com, "Thinking Mode"; platform.moonshot.ai, "Kimi thinking models"). OpenRouter needs its
`reasoning_details`, which have the signatures of the models that it calls (openrouter.ai/docs, "Preserving reasoning
blocks"). So an answer's first tool call carries the reasoning as `provider_data`, stamped, and a later request has it
in the message again, under the same names.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from streamsvc.messages import COMPATIBLE, AssistantMessage, ProviderData
from streamsvc.providers import lenient
from streamsvc.providers.base import whole
from streamsvc.providers.provider_data import field, own, stamped

TEXTS = ("reasoning_content", "reasoning")
DETAILS = "reasoning_details"

MOST_CHARS = 500_000
"""The maximum length of the reasoning that goes back: clients send it, so it must fit into a request."""

_PLACEHOLDER = " "
"""Takes the place of missing reasoning: another provider made the calls, or a client has lost it."""

_GROWING = frozenset(("text", "summary"))
"""The parts of a detail that arrive in pieces."""


class Thoughts:
    """Collects the reasoning of one answer.

    Args:
        model: the one that was asked.
    """

    __slots__ = ("_chars", "_details", "_model", "_texts")

    def __init__(self, model: str) -> None:
        self._model = model
        self._texts: dict[str, list[str]] = {}
        self._details: list[dict[str, Any]] = []
        self._chars = 0

    def take(self, texts: Sequence[str | None], details: object) -> None:
        """Take the reasoning of one chunk.

        Args:
            texts: under each name of `TEXTS`; empty text counts, because a server may need that back, too.
            details: `reasoning_details`, of any shape.

        Raises:
            UpstreamInvalid: the details are nested too deeply.
        """
        for name, text in zip(TEXTS, texts, strict=True):
            if text is not None:
                self._texts.setdefault(name, []).append(text)
                self._chars += len(text)
        if isinstance(details, list) and self._chars <= MOST_CHARS:
            for detail in map(lenient.opaque, lenient.objects(details)):
                self._chars += sum(len(it) for it in detail.values() if isinstance(it, str)) + 1
                self._add(detail)

    def data(self) -> ProviderData:
        """Return the reasoning as `provider_data`; empty if there is none, or too much."""
        fields: dict[str, Any] = {
            name: whole("".join(texts)) for name, texts in self._texts.items()
        }
        if self._details:
            fields[DETAILS] = self._details
        if not fields or self._chars > MOST_CHARS:
            return {}
        return stamped({COMPATIBLE: fields}, "openai", self._model)

    def _add(self, detail: Mapping[str, Any]) -> None:
        """Add a detail, or a piece of the latest one: they have the same type and index."""
        latest = self._details[-1] if self._details else {}
        if not latest or any(latest.get(key) != detail.get(key) for key in ("type", "index")):
            self._details.append({**detail})
            return
        for key, value in detail.items():
            before = latest.get(key)
            if key in _GROWING and isinstance(before, str) and isinstance(value, str):
                latest[key] = before + value
            elif value is not None:
                latest[key] = value


def returned(message: AssistantMessage, model: str) -> dict[str, Any]:
    """Return the reasoning of an earlier turn as fields of its message; empty if it is another model's, or missing."""
    fields: dict[str, Any] = {}
    for data in (message.provider_data, *(call.provider_data for call in message.tool_calls)):
        kept = own(data, "openai", model)
        fields |= {
            name: text for name in TEXTS if isinstance(text := field(kept, COMPATIBLE, name), str)
        }
        if isinstance(details := field(kept, COMPATIBLE, DETAILS), list):
            fields[DETAILS] = details
    return fields


def filled(messages: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the messages with a placeholder in each turn that has tool calls and no reasoning."""
    return [
        {**message, TEXTS[0]: _PLACEHOLDER}
        if "tool_calls" in message and not {*TEXTS, DETAILS} & message.keys()
        else message
        for message in messages
    ]
