"""What every upstream's finish reasons mean: one table for all adapters.

From the API references of OpenAI, Azure, Gemini (google-genai, `types.FinishReason`), Anthropic, Bedrock,
Cohere, Mistral, DeepSeek, Zhipu, Baidu, watsonx and OpenRouter, and from vLLM, SGLang, TGI, TensorRT-LLM,
llama.cpp, Ollama and LM Studio. Spelling does not matter (`wording`), nor does an enum's name as a prefix, as
protobuf and Python write it: `FINISH_REASON_STOP`, `FinishReason.STOP`, `REASON_MAX_LEN` (xAI). Any reason that is
not listed is `other`.
"""

import re
from collections.abc import Mapping

from streamsvc.events import AnswerEnd
from streamsvc.provider_errors import (
    ProviderAuthFailed,
    ProviderError,
    ProviderRefused,
    ProviderUnavailable,
)
from streamsvc.providers.wording import bare

_ENDS: Mapping[AnswerEnd, str] = {
    "stop": """
        stop stopped stop_sequence stop_string stop_words stop_string_found
        end end_turn end_of_turn end_of_text end_id eos eos_token eos_found eot complete completed normal
    """,
    "length": """
        length max_length max_len max_context max_tokens max_output_tokens max_new_tokens max_completion_tokens token_limit
        limit model_length context_length context_length_reached context_length_exceeded
        model_context_window_exceeded max_predicted_tokens_reached continuation
    """,
    "content_filter": """
        content_filter content_filtered content_filter_error sensitive safety refusal moderation
        guardrail guardrails guardrail_intervened blocked blocklist prohibited_content recitation spii
        image_safety image_prohibited_content image_recitation model_armor jailbreak error_toxic escalation
    """,
    "tool_calls": "tool_call tool_calls tool_use function_call function_calls",
}

_FAILURES: Mapping[type[ProviderError], str] = {
    # The model's output is unusable: Gemini calls tools that the request did not offer.
    ProviderError: """
        error failed failure engine_error malformed_function_call malformed_response unexpected_tool_call
        too_many_tool_calls
    """,
    ProviderUnavailable: """
        network_error abort aborted cancel cancelled canceled user_cancel insufficient_system_resource
        timeout time_limit server_error internal_error internal_server_error overloaded model_unloaded
    """,
    ProviderAuthFailed: "pup_limited_disabled",  # the account is limited because of how it was used
    ProviderRefused: "missing_thought_signature",  # the history in the request is incomplete
}

_ENUMERATION = re.compile(r"^(?:finish|stop)?reason(?=.)")

_NOT_YET = frozenset(map(bare, ("", "null", "none", "not_finished", "unspecified")))
"""What some servers send with every chunk instead of null."""

_END_BY_WORD: Mapping[str, AnswerEnd] = {
    bare(word): end for end, words in _ENDS.items() for word in words.split()
}
_FAILURE_BY_WORD: Mapping[str, type[ProviderError]] = {
    bare(word): kind for kind, words in _FAILURES.items() for word in words.split()
}


def answer_end(word: str) -> AnswerEnd | None:
    """Return what an upstream's finish reason means; None if the answer continues.

    Raises:
        ProviderError: the reason says that the provider failed.
    """
    known = _ENUMERATION.sub("", bare(word), count=1)
    if known in _NOT_YET:
        return None
    if failure := _FAILURE_BY_WORD.get(known):
        raise failure
    return _END_BY_WORD.get(known, "other")
