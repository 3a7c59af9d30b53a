"""Thinking is set in the terms of each Gemini model, and the effort that results is named."""

from typing import Any, get_args

import pytest
from google.genai import types

from streamsvc.messages import ReasoningEffort
from streamsvc.providers.gemini.models import bare_model, demands_signatures, thinking

PRO_3, PRO_31 = "gemini-3-pro-preview", "gemini-3.1-pro-preview"
LITE, FLASH_36, FLASH_38 = "gemini-3.1-flash-lite", "gemini-3.6-flash", "gemini-3.8-flash"
PRO_25, FLASH_25 = "gemini-2.5-pro", "gemini-2.5-flash"


def level(name: str) -> dict[str, Any]:
    return {"thinkingLevel": name}


def budget(tokens: int) -> dict[str, Any]:
    return {"thinkingBudget": tokens}


@pytest.mark.parametrize(
    ("model", "effort", "fields", "meant"),
    [
        (FLASH_38, "none", level("LOW"), "low"),
        (FLASH_38, "minimal", level("LOW"), "low"),
        (FLASH_38, "low", level("LOW"), "low"),
        (FLASH_38, "medium", level("MEDIUM"), "medium"),
        (FLASH_38, "high", level("HIGH"), "high"),
        (FLASH_38, "xhigh", level("HIGH"), "high"),
        (FLASH_38, "max", level("HIGH"), "high"),
        (FLASH_36, "none", level("MINIMAL"), "minimal"),
        (FLASH_36, "minimal", level("MINIMAL"), "minimal"),
        (LITE, "minimal", level("MINIMAL"), "minimal"),
        (PRO_31, "medium", level("MEDIUM"), "medium"),
        (PRO_3, "medium", level("HIGH"), "high"),
        (PRO_3, "minimal", level("LOW"), "low"),
        (FLASH_25, "none", budget(0), "none"),
        (FLASH_25, "minimal", budget(512), "minimal"),
        (FLASH_25, "low", budget(1024), "low"),
        (FLASH_25, "medium", budget(8192), "medium"),
        (FLASH_25, "max", budget(24576), "high"),
        (PRO_25, "none", budget(512), "minimal"),
        (PRO_25, "high", budget(24576), "high"),
        (PRO_25, "xhigh", budget(32768), "max"),
        ("gemini-2.0-flash", "high", {}, "none"),
        ("gemini-1.5-pro", "low", {}, "none"),
        ("gemini-flash-latest", "none", level("LOW"), "low"),
        ("my-gateway/anything", "max", level("HIGH"), "high"),
        (f"models/{FLASH_25}", "none", budget(0), "none"),
    ],
)
def test_effort_is_the_nearest_that_the_model_has(
    model: str, effort: ReasoningEffort, fields: dict[str, Any], meant: ReasoningEffort
) -> None:
    assert thinking(model, effort) == (fields, meant)


@pytest.mark.parametrize("model", [PRO_3, PRO_31, LITE, FLASH_38, PRO_25, FLASH_25, "gemini-2.0-x"])
@pytest.mark.parametrize("effort", get_args(ReasoningEffort))
def test_what_an_effort_became_stands_for_itself(model: str, effort: ReasoningEffort) -> None:
    fields, meant = thinking(model, effort)
    assert thinking(model, meant) == (fields, meant)


@pytest.mark.parametrize("model", [PRO_3, LITE, PRO_25, FLASH_25])
@pytest.mark.parametrize("effort", get_args(ReasoningEffort))
def test_thinking_fields_are_those_of_the_sdk(model: str, effort: ReasoningEffort) -> None:
    fields, _ = thinking(model, effort)
    assert types.ThinkingConfig.model_validate(fields).model_fields_set


@pytest.mark.parametrize(
    ("model", "demanded"),
    [
        (FLASH_38, True),
        (PRO_3, True),
        ("gemini-flash-latest", True),
        ("models/gemini-4-pro", True),
        (PRO_25, False),
        ("models/gemini-2.0-flash", False),
        ("gemma-3-27b-it", False),
    ],
)
def test_models_since_gemini_3_demand_signatures(model: str, *, demanded: bool) -> None:
    assert demands_signatures(model) == demanded


def test_bare_model_is_the_name_without_its_collection() -> None:
    assert bare_model(f"models/{FLASH_38}") == bare_model(FLASH_38) == FLASH_38
