"""What becomes of each parameter at each kind of provider: one table, which the engine applies and the docs print.

Sources: openai SDK, `types/chat/completion_create_params.py`; google-genai, `types.GenerationConfig` and
`types.GenerateContentConfig`; for the sampling fields of local servers, vLLM's and llama.cpp's API pages. Whether a
single model takes a parameter is not in the table: the API says so itself.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, assert_never

import msgspec
from typing_extensions import override

from streamsvc.config.provider_settings import (
    FakeSettings,
    GeminiSettings,
    OpenAISettings,
    ParameterName,
    ProviderSettings,
)
from streamsvc.providers.gemini.models import thinking

API = Literal["fake", "openai", "compatible", "gemini"]
"""A column of the table: `openai` is OpenAI's own API, `compatible` any other server of an entry of kind `openai`."""


class Fate(msgspec.Struct, frozen=True):
    """What an API makes of a parameter.

    Attributes:
        what: `lacked` is refused or dropped; `left_out` is dropped always, because the answer stays the same.
        how: the field of the API's request, or a remark.
        values: the only values that the API has; empty: all.
        nearest: returns the value that is used for a wanted one and a model.
    """

    what: Literal["sent", "mapped", "nearest", "no_effect", "left_out", "lacked"]
    how: str = ""
    values: tuple[Any, ...] = ()
    nearest: Callable[[Any, str], str] | None = None

    @override
    def __str__(self) -> str:
        """Return it in words."""
        match self.what:
            case "sent":
                return f"sent as {self.how}"
            case "no_effect":
                return "no effect"
            case "left_out":
                return "left out: the answer stays the same"
            case "lacked":
                return f"not supported{self.how and f': {self.how}'}"
            case _:
                return self.how


def _effort(wanted: Any, model: str) -> str:
    return thinking(model, wanted)[1]


def _sent(name: str) -> Fate:
    return Fate("sent", name)


def _generation_config(name: str) -> Fate:
    return _sent(f"generationConfig.{name}")


NO_EFFECT = Fate("no_effect")
USED = Fate("mapped", "used by the fake provider itself")
LEFT_OUT = Fate("left_out")
LACKED = Fate("lacked")


def _row(
    *, fake: Fate = NO_EFFECT, openai: Fate, compatible: Fate | None = None, gemini: Fate = LACKED
) -> Mapping[API, Fate]:
    return {
        "fake": fake,
        "openai": openai,
        "compatible": compatible or openai,
        "gemini": gemini,
    }


TABLE: Mapping[ParameterName, Mapping[API, Fate]] = {
    "temperature": _row(openai=_sent("temperature"), gemini=_generation_config("temperature")),
    "top_p": _row(openai=_sent("top_p"), gemini=_generation_config("topP")),
    "top_k": _row(openai=LACKED, compatible=_sent("top_k"), gemini=_generation_config("topK")),
    "min_p": _row(openai=LACKED, compatible=_sent("min_p")),
    "frequency_penalty": _row(
        openai=_sent("frequency_penalty"), gemini=_generation_config("frequencyPenalty")
    ),
    "presence_penalty": _row(
        openai=_sent("presence_penalty"), gemini=_generation_config("presencePenalty")
    ),
    "repetition_penalty": _row(openai=LACKED, compatible=_sent("repetition_penalty")),
    "logit_bias": _row(openai=_sent("logit_bias")),
    "max_tokens": _row(
        fake=Fate("mapped", "limits the words"),
        openai=_sent("max_completion_tokens, or as max_tokens_field says"),
        gemini=_generation_config("maxOutputTokens"),
    ),
    "stop": _row(fake=USED, openai=_sent("stop"), gemini=_generation_config("stopSequences")),
    "seed": _row(
        fake=Fate("mapped", "the seed of the jitter"),
        openai=_sent("seed"),
        gemini=Fate("mapped", "the lowest 32 bits are sent as generationConfig.seed"),
    ),
    "logprobs": _row(
        fake=USED, openai=_sent("logprobs"), gemini=_generation_config("responseLogprobs")
    ),
    "top_logprobs": _row(
        fake=USED, openai=_sent("top_logprobs"), gemini=_generation_config("logprobs")
    ),
    "reasoning_effort": _row(
        fake=Fate("mapped", "none switches the reasoning off"),
        openai=_sent("reasoning_effort"),
        gemini=Fate(
            "nearest",
            "the nearest level of the model, sent as generationConfig.thinkingConfig",
            nearest=_effort,
        ),
    ),
    "verbosity": _row(openai=_sent("verbosity")),
    "response_format": _row(
        fake=Fate("mapped", "the answer is a value that fits the schema"),
        openai=_sent("response_format"),
        gemini=Fate(
            "mapped",
            "sent as generationConfig.responseMimeType and responseJsonSchema; always strict, without a name",
        ),
    ),
    "prediction": _row(openai=_sent("prediction"), gemini=LEFT_OUT),
    "tools": _row(
        fake=Fate("mapped", "called with arguments that fit their schemas"),
        openai=_sent("tools"),
        gemini=Fate("mapped", "sent as tools[0].functionDeclarations"),
    ),
    "tool_choice": _row(
        fake=USED,
        openai=_sent("tool_choice"),
        gemini=Fate(
            "mapped",
            "sent as toolConfig.functionCallingConfig: mode AUTO, NONE or ANY; a strict tool makes AUTO VALIDATED",
        ),
    ),
    "parallel_tool_calls": _row(
        fake=USED,
        openai=_sent("parallel_tool_calls"),
        gemini=Fate("lacked", "several calls at once cannot be forbidden"),
    ),
    "user": _row(openai=_sent("user"), gemini=LEFT_OUT),
    "safety_identifier": _row(openai=_sent("safety_identifier"), gemini=LEFT_OUT),
    "prompt_cache_key": _row(openai=_sent("prompt_cache_key"), gemini=LEFT_OUT),
    "prompt_cache_retention": _row(openai=_sent("prompt_cache_retention"), gemini=LEFT_OUT),
    "service_tier": _row(
        openai=_sent("service_tier"),
        gemini=Fate(
            "mapped",
            "sent as serviceTier: flex, priority or standard; default is standard, auto is nothing",
            values=("flex", "priority", "standard"),
        ),
    ),
    "store": _row(openai=_sent("store"), gemini=_sent("store")),
    "extra_body": _row(
        openai=Fate("mapped", "its fields are added to the body"),
        gemini=Fate("mapped", "its fields are added to the body"),
    ),
    "name": _row(openai=_sent("messages[].name"), gemini=LACKED),
    "image_url": _row(
        openai=_sent("an image_url part"), gemini=Fate("mapped", "sent as an inlineData part")
    ),
    "https_image_url": _row(
        openai=_sent("an image_url part; the address is not fetched here"),
        gemini=Fate("lacked", "images come as data URLs only"),
    ),
    "detail": _row(openai=_sent("detail of an image_url part"), gemini=LACKED),
    "file": _row(openai=_sent("a file part"), gemini=Fate("mapped", "sent as an inlineData part")),
}
"""The fate of each parameter, in the order of `Prompt`, then what not every API takes in messages."""

_PART_OF: Mapping[ParameterName, ParameterName] = {
    "tool_choice": "tools",
    "parallel_tool_calls": "tools",
    "top_logprobs": "logprobs",
    "https_image_url": "image_url",
    "detail": "image_url",
}
"""Parameters that mean nothing without another one: an entry that lacks that one lacks them, too."""

CONTENT: frozenset[ParameterName] = frozenset(("image_url", "https_image_url", "file"))
"""Content, which is never dropped: the question would be another one."""

IN_WORDS: Mapping[ParameterName, str] = {
    "name": "'name' in a message",
    "image_url": "an 'image_url' part",
    "https_image_url": "an 'image_url' with an https address",
    "detail": "the 'detail' of an image",
    "file": "a 'file' part",
}
"""What is a part of a message, in words; the others have their names in quotes."""


def fate_of(name: ParameterName, section: ProviderSettings, *, kind: str = "") -> Fate:
    """Return what becomes of a parameter at an entry.

    Args:
        name: of the parameter.
        section: the entry's settings.
        kind: of the requested entry, if this is a fallback: `extra_body` is for that kind of API only.
    """
    if not {name, _PART_OF.get(name)}.isdisjoint(section.params_lacked):
        return Fate("lacked", "params_lacked names it")
    if name == "extra_body" and not section.allow_extra_body:
        return Fate("lacked", "allow_extra_body is false")
    if name == "extra_body" and kind not in {"", section.kind}:
        return LACKED
    if name == "max_tokens" and isinstance(section, OpenAISettings):
        return _sent(section.max_tokens_field)
    return TABLE[name][api_of(section)]


def fates(section: ProviderSettings) -> Mapping[ParameterName, str]:
    """Return the fate of each parameter at an entry, in words that say what happens to a request."""
    words: dict[ParameterName, str] = {}
    for name in TABLE:
        fate = fate_of(name, section)
        words[name] = str(fate)
        if fate.what == "lacked":
            words[name] += "; dropped" if may_drop(name, section) else "; refused"
    return words


def may_drop(name: ParameterName, section: ProviderSettings) -> bool:
    """Return whether a request is sent without a parameter that the entry lacks; content is never left out."""
    return section.params_unsupported == "drop" and name not in CONTENT


def api_of(section: ProviderSettings) -> API:
    """Return the column of an entry."""
    match section:
        case OpenAISettings():
            return "openai" if section.is_openais_own else "compatible"
        case GeminiSettings():
            return "gemini"
        case FakeSettings():
            return "fake"
        case other:
            assert_never(other)
