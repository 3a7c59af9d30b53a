"""The body of a request to Gemini, from a prompt.

`POST models/{model}:streamGenerateContent` (ai.google.dev/api/generate-content). The names are those of google-genai
(`types.GenerationConfig`, `types.Tool`, `types.ToolConfig`), in the API's own spelling.
"""

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from streamsvc.config.provider_settings import GeminiSettings
from streamsvc.messages import JsonFormat, NamedTool, Prompt, Tool, ToolChoice
from streamsvc.providers.gemini.contents import contents
from streamsvc.providers.gemini.models import bare_model, thinking

_SERVICE_TIERS: Mapping[str, str | None] = {"auto": None, "default": "standard"}
"""OpenAI's names that differ from Gemini's (`types.ServiceTier`)."""


def request_body(prompt: Prompt, settings: GeminiSettings) -> dict[str, Any]:
    """Return the body of a request, without the system text, which the SDK adds.

    Fields that this service does not know (`extra_body`) come from the entry, then from the request. They never replace
    a field that the prompt sets, nor one that the service sends itself (`GeminiSettings.own_fields`).

    Raises:
        ProviderRefused: the arguments of an earlier call are not a JSON object.
    """
    model = bare_model(prompt.model or settings.model)
    body = {
        "contents": contents(prompt.messages, model, missing_signature=settings.missing_signature),
        "generationConfig": generation_config(prompt, settings, model),
        "tools": tools(prompt.tools),
        "toolConfig": tool_config(prompt.tool_choice, prompt.tools) if prompt.tools else None,
        "serviceTier": _SERVICE_TIERS.get(prompt.service_tier, prompt.service_tier) or None,
        "store": prompt.store,
    }
    body = {name: value for name, value in body.items() if value is not None}
    extra = _merged(settings.extra_body, prompt.extra_body)
    extra = {name: value for name, value in extra.items() if name not in settings.own_fields}
    return _merged(extra, body)


def generation_config(prompt: Prompt, settings: GeminiSettings, model: str) -> dict[str, Any]:
    """Return the parameters of the answer (`types.GenerationConfig`)."""
    fields = {
        "temperature": prompt.temperature,
        "topP": prompt.top_p,
        "topK": prompt.top_k,
        "maxOutputTokens": prompt.max_tokens,
        "stopSequences": list(prompt.stop) or None,
        "responseLogprobs": prompt.logprobs or None,
        "logprobs": prompt.top_logprobs or None,
        "presencePenalty": prompt.presence_penalty,
        "frequencyPenalty": prompt.frequency_penalty,
        "seed": None if prompt.seed is None else _int32(prompt.seed),
        **_json_answer(prompt.response_format),
        "thinkingConfig": _thinking_config(prompt, settings, model) or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _thinking_config(prompt: Prompt, settings: GeminiSettings, model: str) -> dict[str, Any]:
    """Return how the model thinks. Asking for summaries of thoughts is an error if thinking is off."""
    fields = thinking(model, prompt.reasoning_effort)[0] if prompt.reasoning_effort else {}
    if settings.include_thoughts and fields.get("thinkingBudget") != 0:
        # Spelled as the SDK does; the API takes both spellings (ProtoJSON).
        return {"include_thoughts": True, **fields}
    return {**fields}


def _json_answer(wanted: JsonFormat | None) -> dict[str, Any]:
    """Return the fields for an answer in JSON. A schema is always strict here, and cannot have a name."""
    if wanted is None:
        return {}
    schema = wanted.schema
    if schema is not None and wanted.description:
        schema = {"description": wanted.description, **schema}
    return {"responseMimeType": "application/json", "responseJsonSchema": schema}


def tools(declared: Sequence[Tool]) -> list[dict[str, Any]] | None:
    """Return the tools (`types.FunctionDeclaration`), or None if there are none."""
    if not declared:
        return None
    return [{"functionDeclarations": [_declaration(tool) for tool in declared]}]


def _declaration(tool: Tool) -> dict[str, Any]:
    fields = {
        "name": tool.name,
        "description": tool.description or None,
        "parametersJsonSchema": tool.parameters,
    }
    return {name: value for name, value in fields.items() if value is not None}


def tool_config(choice: ToolChoice | None, declared: Sequence[Tool]) -> dict[str, Any] | None:
    """Return whether the model may, must not or must call a tool (`types.FunctionCallingConfig`).

    A strict tool asks for arguments that follow their schema. `VALIDATED` is `AUTO` with that guarantee, and `ANY`
    always has it.
    """
    is_strict = any(tool.strict for tool in declared)
    match choice:
        case None if not is_strict:
            return None
        case None | "auto":
            config: dict[str, Any] = {"mode": "VALIDATED" if is_strict else "AUTO"}
        case "none":
            config = {"mode": "NONE"}
        case "required":
            config = {"mode": "ANY"}
        case NamedTool(name=name):
            config = {"mode": "ANY", "allowedFunctionNames": [name]}
        case other:
            assert_never(other)
    return {"functionCallingConfig": config}


def _int32(seed: int) -> int:
    """Return the lowest 32 bits of a seed, signed: the API accepts only these (`GenerationConfig.seed`)."""
    return (seed + 2**31) % 2**32 - 2**31


def _merged(body: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return *body* with the fields of *over*; objects are merged. ProtoJSON allows two spellings of a name: `topP`, `top_p`."""
    merged = dict(body)
    spelled = {_bare(name): name for name in body}
    for name, value in over.items():
        before = merged.pop(spelled.get(_bare(name), name), None)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            value = _merged(before, value)  # noqa: PLW2901  # the same value, and more
        merged[name] = value
    return merged


def _bare(name: str) -> str:
    return name.replace("_", "").lower()
