"""The meaning of a refusal: the same in any wrapping, by its status, and by whose fault it is."""

import json
from typing import Any

import pytest

from streamsvc.provider_errors import (
    ContextLengthExceeded,
    ProviderAuthFailed,
    ProviderContentFiltered,
    ProviderError,
    ProviderMisconfigured,
    ProviderModelNotFound,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    ProviderRefused,
    ProviderUnavailable,
)
from streamsvc.providers.error_mapping import error_for_answer, error_in_stream, stated_error

TOO_LONG = "This model's maximum context length is 8192 tokens. Please reduce the length."
CODED = {"message": "no", "type": "invalid_request_error", "code": "context_length_exceeded"}

WRAPPINGS: dict[str, Any] = {
    "envelope": {"error": CODED},
    "bare": CODED,
    "array": [{"error": CODED}],
    "errors": {"errors": [CODED]},
    "anthropic": {"type": "error", "error": {"type": "invalid_request_error", "message": TOO_LONG}},
    "vllm": {"object": "error", "message": TOO_LONG, "type": "BadRequestError", "code": 400},
    "fastapi": {"detail": TOO_LONG},
    "pydantic": {"detail": [{"loc": ["body", "messages"], "msg": TOO_LONG, "type": "value_error"}]},
    "mistral": {"object": "error", "message": {"detail": [{"msg": TOO_LONG}]}, "type": "invalid"},
    "message": {"message": TOO_LONG},
    "capital": {"Message": TOO_LONG, "__type": "com.amazon#ValidationException"},
    "text": {"error": TOO_LONG},
    "text and code": {"code": "context_length_exceeded", "error": "no"},
    "tgi": {"error": TOO_LONG, "error_type": "validation"},
    "json in a text": {"error": {"message": json.dumps({"error": CODED}), "code": 400}},
    "openrouter": {
        "error": {
            "message": "Provider returned error",
            "code": 400,
            "metadata": {"raw": json.dumps({"error": {"message": TOO_LONG}}), "provider_name": "X"},
        }
    },
    "azure": {"error": {"code": None, "innererror": {"code": "context_length_exceeded"}}},
    "problem details": {"title": "Bad Request", "status": 400, "detail": TOO_LONG},
}


def of_status(status: int, body: object = None, headers: dict[str, str] | None = None) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return error_for_answer(status, raw, headers or {})


@pytest.mark.promise("provider:swap")
@pytest.mark.parametrize("body", WRAPPINGS.values(), ids=WRAPPINGS.keys())
def test_error_body_means_the_same_in_any_wrapping(body: Any) -> None:
    """The wrappings are a response with a status, a chunk, and a body under 200."""
    assert type(of_status(400, body)) is ContextLengthExceeded
    assert type(error_in_stream(body)) is ContextLengthExceeded
    assert type(stated_error(body)) is ContextLengthExceeded


@pytest.mark.parametrize(
    "body",
    [
        None, 7, "text", [], {}, {"choices": []}, {"choices": [{}], "message": "Hi."},
        {"error": None}, {"error": {}}, {"type": "ping"}, {"model": "gpt", "usage": {}}, [7],
        {"candidates": [{}], "message": "Hi."},
    ],
    ids=repr,
)  # fmt: skip
def test_value_that_states_no_error_is_not_one(body: object) -> None:
    assert stated_error(body) is None


@pytest.mark.parametrize("depth", [10, 900, 30_000])
def test_nested_error_body_does_not_recurse(depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    assert type(of_status(400, nested)) is ProviderRefused
    assert type(of_status(500, b'{"error":%b}' % nested)) is ProviderUnavailable
    inner: Any = "x"
    for _ in range(depth):
        inner = {"error": [inner]}
    assert type(stated_error(inner)) is ProviderError


STATUSES: dict[int, type[ProviderError]] = {
    **dict.fromkeys((300, 301, 302, 303, 304, 307, 308), ProviderMisconfigured),
    400: ProviderRefused,
    401: ProviderAuthFailed,
    402: ProviderQuotaExhausted,
    403: ProviderAuthFailed,
    404: ProviderModelNotFound,
    **dict.fromkeys((405, 406, 407, 410, 411, 412, 414, 415, 416, 417, 418), ProviderMisconfigured),
    408: ProviderUnavailable,
    409: ProviderUnavailable,
    413: ContextLengthExceeded,
    422: ProviderRefused,
    **dict.fromkeys((421, 423, 424, 425, 426, 428, 431, 451), ProviderMisconfigured),
    429: ProviderRateLimited,
    499: ProviderUnavailable,
    **dict.fromkeys((500, 502, 503, 504, 507, 520, 522, 529), ProviderUnavailable),
    **dict.fromkeys((501, 505, 508, 511), ProviderMisconfigured),
}


@pytest.mark.promise("provider:swap")
@pytest.mark.parametrize(("status", "kind"), STATUSES.items())
@pytest.mark.parametrize("body", [None, b"", b"\xff\xfe", [], "no", {"error": {}}], ids=repr)
def test_status_without_a_telling_body_has_one_meaning(
    status: int, kind: type[ProviderError], body: object
) -> None:
    assert type(of_status(status, body)) is kind


@pytest.mark.parametrize("status", [it for it in STATUSES if it not in {400, 413, 422}])
def test_unknown_status_does_not_blame_the_request(status: int) -> None:
    """It counts against the entry, and the client gets no 4xx."""
    error = of_status(status)
    assert error.is_outage
    assert error.code not in {"provider_refused", "context_length_exceeded"}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        # An unpaid bill is not a rate limit, so waiting does not help.
        (429, {"error": {"code": "insufficient_quota", "message": "x"}}, ProviderQuotaExhausted),
        (429, {"error": {"type": "insufficient_quota"}}, ProviderQuotaExhausted),
        (429, {"error": {"message": "You exceeded your current quota, please check your plan."}},
         ProviderQuotaExhausted),
        (429, {"error": {"message": "Insufficient balance or no resource package."}},
         ProviderQuotaExhausted),
        (429, {"error": {"type": "exceeded_current_quota_error"}}, ProviderQuotaExhausted),
        (400, {"error": {"code": "billing_hard_limit_reached"}}, ProviderQuotaExhausted),
        (403, {"error": "Your team has used all available credits"}, ProviderQuotaExhausted),
        (402, {"error": {"message": "Prompt tokens limit exceeded: 7832 > 6300."}},
         ProviderQuotaExhausted),
        (429, {"error": {"code": "rate_limit_exceeded", "message": "Limit 3, used 3."}},
         ProviderRateLimited),
        # A single request over a limit is too long, whatever the limit is called.
        (413, {"error": {"code": "rate_limit_exceeded", "type": "tokens"}}, ContextLengthExceeded),
        (429, {"error": {"message": "Request too large for gpt-4o: Limit 30000, Requested 50000."}},
         ContextLengthExceeded),
        # Keys and models.
        (400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided"},
         ProviderAuthFailed),
        (400, {"error": {"details": [{"reason": "API_KEY_INVALID"}]}}, ProviderAuthFailed),
        (400, {"error": {"code": 400, "status": "FAILED_PRECONDITION"}}, ProviderAuthFailed),
        (403, {"error": {"code": "model_not_found"}}, ProviderModelNotFound),
        (503, {"error": {"code": "model_not_found"}}, ProviderModelNotFound),
        (404, {"error": {"code": "DeploymentNotFound"}}, ProviderModelNotFound),
        (404, {"error": {"message": "model 'x' not found, try pulling it first"}},
         ProviderModelNotFound),
        (404, {"detail": "Not Found"}, ProviderMisconfigured),
        (404, b"404 page not found\n", ProviderMisconfigured),
        (404, b"<!doctype html><title>404</title>", ProviderMisconfigured),
        (404, {"error": {"message": "Invalid URL (POST /v1/v1/chat/completions)"}},
         ProviderMisconfigured),
        (410, {"error": "The model x is no longer supported."}, ProviderModelNotFound),
        # Filters, with various codes and statuses.
        (400, {"error": {"code": "data_inspection_failed"}}, ProviderContentFiltered),
        (400, {"error": {"code": None, "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
         ProviderContentFiltered),
        (403, {"error": {"message": "Your input was flagged by moderation"}},
         ProviderContentFiltered),
        # A failure of the server with a special status.
        (424, {"error": "Request failed during generation", "error_type": "generation"},
         ProviderUnavailable),
        (500, {"error": {"code": 400, "message": TOO_LONG}}, ContextLengthExceeded),
        (400, {"error": {"type": "rate_limit_error"}}, ProviderRateLimited),
        (400, {"error": {"type": "overloaded_error"}}, ProviderUnavailable),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_words_that_say_more_than_the_status_count(
    status: int, body: Any, kind: type[ProviderError]
) -> None:
    assert type(of_status(status, body)) is kind


def test_googles_rate_limit_sentence_is_not_a_quota() -> None:
    """OpenAI uses the same sentence for a used-up quota, but Google says when to retry."""
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}
    message = "You exceeded your current quota, please check your plan and billing details."
    error = of_status(429, {"error": {"code": 429, "message": message, "details": [info]}})
    assert type(error) is ProviderRateLimited
    assert error.retry_after_seconds == 7


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 429}, ProviderRateLimited),
        ({"code": "503"}, ProviderUnavailable),
        ({"status": "UNAVAILABLE"}, ProviderUnavailable),
        ({"status": "RESOURCE_EXHAUSTED"}, ProviderRateLimited),
        ({"status": "UNAUTHENTICATED"}, ProviderAuthFailed),
        ({"type": "overloaded_error", "message": "Overloaded"}, ProviderUnavailable),
        ({"type": "api_error", "message": TOO_LONG}, ContextLengthExceeded),
        ({"type": "ThrottlingException", "message": "Too many tokens, please wait."},
         ProviderRateLimited),
        ({"type": "invalid_request_error", "message": "no"}, ProviderRefused),
        ({"type": "not_found_error", "message": "model: claude-x"}, ProviderModelNotFound),
        (True, ProviderError),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_error_without_a_status_is_recognised_by_words(
    error: object, kind: type[ProviderError]
) -> None:
    assert type(error_in_stream(error)) is kind


def test_overflow_message_has_the_words_clients_match() -> None:
    """LiteLLM, opencode and Cline shorten the conversation when they find them."""
    said = ContextLengthExceeded.message.lower()
    for words in (
        "this model's maximum context length is",
        "maximum context length",
        "exceeds the context window",
        "reduce the length of the messages",
    ):
        assert words in said
