"""Differences between Gemini's models, and where they are: how to set their thinking, whether they require signatures.

Levels and budgets: Google's pages "Gemini thinking" and "OpenAI compatibility" (ai.google.dev/gemini-api/docs), and
what each model accepted in September 2026. A model answers 400 to a level that it lacks.
"""

import re
from collections.abc import Mapping
from typing import Any, get_args

from streamsvc.messages import ReasoningEffort

ThinkingFields = Mapping[str, Any]
"""Fields of a `thinkingConfig` (google-genai, `types.ThinkingConfig`)."""

_EFFORTS: tuple[ReasoningEffort, ...] = get_args(ReasoningEffort)
"""From none to the most."""


def _levels(*efforts: ReasoningEffort) -> Mapping[ReasoningEffort, ThinkingFields]:
    """Return the efforts of a model that has a level for each (`types.ThinkingLevel`); its thinking cannot be off."""
    return {effort: {"thinkingLevel": effort.upper()} for effort in efforts}


def _budgets(**tokens: int) -> Mapping[ReasoningEffort, ThinkingFields]:
    """Return the efforts of a model that has a budget in tokens; a budget of 0 turns thinking off."""
    return {effort: {"thinkingBudget": tokens[effort]} for effort in _EFFORTS if effort in tokens}


_OF_MODEL: tuple[tuple[re.Pattern[str], Mapping[ReasoningEffort, ThinkingFields]], ...] = (
    (re.compile(r"gemini-(1|2\.0)\b"), {"none": {}}),  # they do not think
    (re.compile(r"gemini-2\.5-pro\b"), _budgets(minimal=512, low=1024, medium=8192, high=24576, max=32768)),
    (re.compile(r"gemini-2\.5\b"), _budgets(none=0, minimal=512, low=1024, medium=8192, high=24576)),
    (re.compile(r"gemini-3-pro\b"), _levels("low", "high")),
    (re.compile(r"gemini-3(\.[156])?-flash\b"), _levels("minimal", "low", "medium", "high")),
)  # fmt: skip
_OF_OTHERS = _levels("low", "medium", "high")
"""Every model since Gemini 3.1 has these. Names that are not listed get them, too."""

_WITHOUT_SIGNATURES = re.compile(r"(gemini-[12]\b|gemma)")


_VERSION = re.compile(r"(.*)/(v[0-9]+[a-z0-9]*)/*")
_DEFAULT_VERSION = "v1"
"""What google-genai asks for (`_api_client.GOOGLE_AI_API_DEFAULT_VERSION`), and Google serves."""


def address(url: str) -> tuple[str, str]:
    """Return the base URL and the version of an API; the version is the end of *url*, if it looks like one."""
    versioned = _VERSION.fullmatch(url)
    return (versioned[1], versioned[2]) if versioned else (url, _DEFAULT_VERSION)


def bare_model(name: str) -> str:
    """Return a model's name without the collection that the API's paths put before it."""
    return name.removeprefix("models/")


def thinking(model: str, effort: ReasoningEffort) -> tuple[ThinkingFields, ReasoningEffort]:
    """Return how to limit a model's thinking.

    Args:
        model: its name in the API.
        effort: the requested effort.

    Returns:
        The fields of the `thinkingConfig`, and the effort that they stand for: the nearest that the model has, or
        the higher one of two that are equally near.
    """
    named = (efforts for names, efforts in _OF_MODEL if names.match(bare_model(model)))
    efforts = next(named, _OF_OTHERS)
    wanted = _EFFORTS.index(effort)
    nearest = min(efforts, key=lambda it: (abs(_EFFORTS.index(it) - wanted), -_EFFORTS.index(it)))
    return efforts[nearest], nearest


def demands_signatures(model: str) -> bool:
    """Return whether a model refuses function calls in the history that lack their thought signatures.

    Gemini 3 and later do (ai.google.dev/gemini-api/docs/thought-signatures). A name that is not listed may be newer.
    """
    return _WITHOUT_SIGNATURES.match(bare_model(model)) is None
