"""The meaning of real servers' sentences, and sentences that must not be mistaken for them."""

import json

import pytest

from streamsvc.provider_errors import (
    ContextLengthExceeded,
    ProviderAuthFailed,
    ProviderContentFiltered,
    ProviderError,
    ProviderModelNotFound,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    ProviderRefused,
    ProviderUnavailable,
)
from streamsvc.providers.error_mapping import error_for_answer, error_in_stream

OVERFLOWS = {
    "openai": "This model's maximum context length is 8192 tokens. However, your messages resulted in 8545 tokens. Please reduce the length of the messages.",
    "openai, completion too": "This model's maximum context length is 4097 tokens. However, you requested 5000 tokens (1000 in the messages, 4000 in the completion). Please reduce the length of the messages or completion.",
    "openai, responses": "Your input exceeds the context window of this model. Please adjust your input and try again.",
    "openai, configured": "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 509178 tokens. Please reduce the length of the messages.",
    "openai, string": "Invalid 'messages[1].content': string too long. Expected a string with maximum length 10485760, but got a string with length 12000000 instead.",
    "azure, github": "Request body too large for gpt-4o model. Max size: 8000 tokens.",
    "vllm": "This model's maximum context length is 8192 tokens. However, your request has 9000 input tokens. Please reduce the length of the input messages.",
    "vllm, engine": "The decoder prompt (length 9000) is longer than the maximum model length of 8192. Make sure that `max_model_len` is no smaller than the number of text tokens.",
    "sglang": "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
    "sglang, total": "Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a total of 5000 tokens.",
    "tgi": "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000",
    "tgi, total": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 1500 `inputs` tokens and 1000 `max_new_tokens`",
    "llama.cpp": "the request exceeds the available context size. try increasing the context size or enable context shift",
    "llama.cpp, newer": "request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it",
    "ollama": "the input length exceeds the context length",
    "ollama, newer": "prompt too long; exceeded max context length by 300 tokens",
    "lm studio": "Trying to keep the first 15393 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens, which is not enough.",
    "lm studio, newer": "The number of tokens to keep from the initial prompt is greater than the context length.",
    "gemini": "The input token count (40000) exceeds the maximum number of tokens allowed (32000).",
    "mistral": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
    "anthropic": "prompt is too long: 213462 tokens > 200000 maximum",
    "anthropic, sum": "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000, decrease input length or `max_tokens` and try again",
    "bedrock": "Input is too long for requested model.",
    "bedrock, titan": "Malformed input request: expected maxLength: 50000, actual: 59332, please reformat your input and try again.",
    "bedrock, count": "Too many input tokens. Max input tokens: 8192, request input token count: 8500",
    "cohere": "too many tokens: total number of tokens in the prompt cannot exceed 4081",
    "xai": "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
    "copilot": "prompt token count of 5000 exceeds the limit of 4096",
    "moonshot": "Invalid request: Your request exceeded model token limit: 8192",
    "minimax": "invalid params, context window exceeds limit (2013)",
    "zhipu": "Prompt exceeds max length",
    "dashscope": "Range of input length should be [1, 30000]",
    "groq": "Please reduce the length of the messages or completion.",
    "openrouter": "This endpoint's maximum context length is 131072 tokens. However, you requested about 200000 tokens.",
    "cloudflare": "The estimated number of input and maximum output tokens (9000) exceeded this model context window limit (8192).",
    "fireworks": "The prompt is too long: 200000, model maximum context length: 131071",
    "poolside": "Input length 265330 exceeds the maximum allowed input length of 131040 tokens.",
    "tensorrt": "Prompt length (9000) exceeds maximum input length (8192). Set log level to info and check",
    "lmdeploy": "The context length exceeds the `session_len`",
    "litellm": "litellm.ContextWindowExceededError: litellm.BadRequestError: OpenAIException - Error code: 400 - {'error': {'message': \"This model's maximum context length is 8192 tokens.\"}}",
    "words only": "The text exceeds the maximum allowed length.",
    "prompt, allowed": "Prompt exceeds the maximum allowed length",
    "many tokens": "Your prompt has too many tokens.",
    "reduce": "Please reduce the length of your prompt.",
}  # fmt: skip
"""Sentences that mean that the input is too long."""

NO_OVERFLOWS = {
    "openai": "max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas you provided 100000.",
    "vllm": "'max_tokens' or 'max_completion_tokens' is too large: 100000. This model's maximum context length is 8192 tokens and your request has 30 input tokens (100000 > 8192 - 30).",
    "vllm, least": "max_tokens must be at least 1, got -1.",
    "groq": "`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the `context_window` for this model",
    "anthropic": "max_tokens: 100000 > 8192, which is the maximum allowed number of output tokens for claude-x",
    "deepseek": "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]",
    "gemini": "Unable to submit request because it has a maxOutputTokens value of 100000 but the supported range is from 1 (inclusive) to 8193 (exclusive).",
    "cohere": "too many tokens: max tokens must be less than or equal to 4096, the maximum output length for this model",
    "reached": "Could not finish the message because max_tokens or model output limit was reached. Please try again with higher max_tokens.",
    "name": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
    "stop": "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length 5 instead.",
    "stop sequence": "A stop sequence exceeds the maximum allowed length of 64.",
    "metadata": "Invalid 'metadata.topic': string too long. Expected a string with maximum length 512.",
    "temperature": "temperature exceeds the maximum allowed value of 1.0",
    "image": "The image is too large.",
    "parameter": "Unknown parameter: 'context_window'.",
    "option": "Invalid value for 'context_length': must be a power of two.",
    "roles": "Conversation roles must alternate user/assistant/user/assistant",
    "no message": "messages: at least one message is required",
    "json": "'messages' must contain the word 'json' in some form",
    "seed": "seed must be less than 2147483647",
}  # fmt: skip
"""Sentences that mean that something else is too long."""

MEANINGS = {
    "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.": ProviderContentFiltered,
    "Invalid prompt: your prompt was flagged as potentially violating our usage policy.": ProviderContentFiltered,
    "Content Exists Risk": ProviderContentFiltered,
    "Input data may contain inappropriate content.": ProviderContentFiltered,
    "The request was rejected because it was considered high risk": ProviderContentFiltered,
    "Output blocked by content filtering policy": ProviderContentFiltered,
    "Your request was rejected as a result of our safety system.": ProviderContentFiltered,
    "System detected potentially unsafe or sensitive content in input or generation.": ProviderContentFiltered,
    "API key not valid. Please pass a valid API key.": ProviderAuthFailed,
    "Incorrect API key provided: xa***. You can obtain an API key from our console.": ProviderAuthFailed,
    "API key expired. Please renew the API key.": ProviderAuthFailed,
    "Your credit balance is too low to access the API. Please go to Plans & Billing.": ProviderQuotaExhausted,
    "Insufficient Balance": ProviderQuotaExhausted,
    "Billing hard limit has been reached": ProviderQuotaExhausted,
    "Gemini API free tier is not available in your country. Please enable billing on your project.": ProviderQuotaExhausted,
    "Model Not Exist": ProviderModelNotFound,
    "The model `gpt-5.9` does not exist or you do not have access to it.": ProviderModelNotFound,
    "foo/bar is not a valid model ID": ProviderModelNotFound,
    "Invalid model: mistral-huge": ProviderModelNotFound,
    "/chat/completions: Invalid model name passed in model=foo. Call `/v1/models` to view available models for your key.": ProviderModelNotFound,
    "The model `llama2-70b-4096` has been decommissioned and is no longer supported.": ProviderModelNotFound,
    "models/gemini-9 is not found for API version v1, or is not supported for generateContent.": ProviderModelNotFound,
    "* GenerateContentRequest.model: unexpected model name format": ProviderModelNotFound,
    "model 'gpt-9' is not supported": ProviderModelNotFound,
    "temperature does not support 0.2 with this model. Only the default (1) value is supported.": ProviderRefused,
    "The parameter `seed` is not supported by this model.": ProviderRefused,
    "This model parameter is not supported: top_k": ProviderRefused,
    "Bad request": ProviderRefused,
    "": ProviderRefused,
}  # fmt: skip
"""Sentences of a 400 without a code, and their errors."""


def _of_status(status: int, said: object) -> type[ProviderError]:
    return type(error_for_answer(status, json.dumps(said).encode(), {}))


@pytest.mark.parametrize("sentence", OVERFLOWS.values(), ids=OVERFLOWS.keys())
def test_too_long_input_is_recognised_by_its_sentence(sentence: str) -> None:
    error = {"message": sentence, "type": "invalid_request_error", "code": None}
    assert _of_status(400, {"error": error}) is ContextLengthExceeded
    assert _of_status(422, {"detail": sentence}) is ContextLengthExceeded
    assert type(error_in_stream(error)) is ContextLengthExceeded
    assert type(error_in_stream(sentence)) is ContextLengthExceeded


@pytest.mark.parametrize("sentence", NO_OVERFLOWS.values(), ids=NO_OVERFLOWS.keys())
def test_other_bounds_are_not_a_too_long_input(sentence: str) -> None:
    error = {"message": sentence, "type": "invalid_request_error"}
    assert _of_status(400, {"error": error}) is ProviderRefused
    assert type(error_in_stream(error)) is ProviderRefused


@pytest.mark.parametrize(("sentence", "kind"), MEANINGS.items(), ids=lambda it: str(it)[:40])
def test_refusal_is_recognised_by_its_sentence(sentence: str, kind: type[ProviderError]) -> None:
    assert _of_status(400, {"error": {"message": sentence}}) is kind
    if kind is not ProviderRefused:
        assert type(error_in_stream({"message": sentence})) is kind


@pytest.mark.parametrize(
    ("sentence", "kind"),
    [
        ("Rate limit reached for requests", ProviderRateLimited),
        ("Too many requests, please wait.", ProviderRateLimited),
        ("The engine is currently overloaded, please try again later", ProviderUnavailable),
        ("Service temporarily unavailable", ProviderUnavailable),
        ("Oh.", ProviderError),
    ],
)
def test_sentence_without_a_status_may_mean_limit_or_outage(
    sentence: str, kind: type[ProviderError]
) -> None:
    assert type(error_in_stream({"message": sentence})) is kind


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (500, {"error": {"message": "the prompt is too long"}}, ProviderUnavailable),
        (503, {"error": {"message": "insufficient balance"}}, ProviderUnavailable),
        (401, {"error": {"message": "the prompt is too long"}}, ProviderAuthFailed),
        (429, {"error": {"message": "Too many tokens, please wait."}}, ProviderRateLimited),
        (
            400,
            {"detail": [{"loc": ["body"], "msg": "no", "input": "what is a context window?"}]},
            ProviderRefused,
        ),
        (
            400,
            {
                "object": "error",
                "message": "[{'type': 'x', 'msg': 'no', 'input': 'prompt is too long'}]",
            },
            ProviderRefused,
        ),
        (400, {"error": {"message": "no", "prompt": "prompt is too long"}}, ProviderRefused),
        (400, {"error": {"message": "no. " * 300 + "prompt is too long"}}, ProviderRefused),
    ],
    ids=[
        "500",
        "503",
        "401",
        "429",
        "input beside",
        "input in the text",
        "prompt",
        "late in the text",
    ],
)
def test_repeated_prompt_is_not_a_reason(
    status: int, body: object, kind: type[ProviderError]
) -> None:
    assert _of_status(status, body) is kind
