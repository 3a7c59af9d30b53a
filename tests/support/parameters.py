"""A request that asks for any parameter, and the table of `docs/reference/parameters.md`."""

import re
from collections.abc import Mapping
from typing import Any

from streamsvc.config.provider_settings import ParameterName
from streamsvc.messages import (
    FilePart,
    ImagePart,
    JsonFormat,
    NamedTool,
    Prompt,
    TextPart,
    Tool,
    UserMessage,
)
from streamsvc.providers.parameters import TABLE

QUESTION = UserMessage("Where is it?")
DATA = "data:image/png;base64,iVBORw0KGgo="
TOOL = Tool(name="get_weather")

ASKING: Mapping[ParameterName, Any] = {
    "temperature": 0.0,
    "top_p": 0.5,
    "top_k": 40,
    "min_p": 0.1,
    "frequency_penalty": -1.0,
    "presence_penalty": 1.0,
    "repetition_penalty": 1.1,
    "logit_bias": {"50256": -100.0},
    "max_tokens": 5,
    "stop": ("END",),
    "seed": 0,
    "logprobs": True,
    "top_logprobs": 2,
    "reasoning_effort": "high",
    "verbosity": "low",
    "response_format": JsonFormat(),
    "prediction": "As before.",
    "tools": (TOOL,),
    "tool_choice": NamedTool("get_weather"),
    "parallel_tool_calls": False,
    "user": "u-1",
    "safety_identifier": "s-1",
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
    "service_tier": "flex",
    "store": True,
    "extra_body": {"guided_choice": ["a"]},
}
"""A value of each parameter that asks for something."""

CONTENTS: Mapping[ParameterName, UserMessage] = {
    "name": UserMessage("hello", name="Ada"),
    "image_url": UserMessage((ImagePart(url=DATA),)),
    "https_image_url": UserMessage((ImagePart(url="https://a.test/cat.png"),)),
    "detail": UserMessage((TextPart("?"), ImagePart(url=DATA, detail="low"))),
    "file": UserMessage((FilePart(url="data:application/pdf;base64,JVBERi0="),)),
}


_FIELD = re.compile(r"\b(?:\w+(?:\.|\[\d*\])[\w.\[\]]+|\w+_\w+|[a-z]+[A-Z]\w+)")
"""Names of fields in the words of a fate."""


def prompt_with(*names: ParameterName) -> Prompt:
    """Return a prompt that asks for these parameters."""
    messages = [QUESTION, *(CONTENTS[name] for name in names if name in CONTENTS)]
    fields = {name: ASKING[name] for name in names if name in ASKING}
    return Prompt(messages=tuple(messages), **fields)


def table() -> str:
    """Return one line per parameter."""
    lines = [
        "| parameter | fake | OpenAI | compatible servers | Gemini |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, fates in TABLE.items():
        cells = (f"`{name}`", *(_cell(str(fate)) for fate in fates.values()))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(words: str) -> str:
    words = words.removeprefix("sent as ")
    if words.replace("_", "").isalnum():
        return f"`{words}`"
    return _FIELD.sub(lambda found: f"`{found[0]}`", words)
