"""What the codes and messages of an upstream's error mean.

They come from the documentation and the sources of the servers. `tests/providers/test_error_words.py` has their
messages, and others that must not be confused with them.
"""

import re
from collections.abc import Callable, Mapping

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
from streamsvc.providers.wording import bare

Kind = type[ProviderError]


def _by_word(words: Mapping[Kind, str]) -> Mapping[str, Kind]:
    return {bare(word): kind for kind, its in words.items() for word in its.split()}


EXACT_CODES = _by_word(
    {
        ContextLengthExceeded: """
            context_length_exceeded context_window_exceeded model_context_window_exceeded
            exceed_context_size_error tokens_limit_reached request_too_large
            prompt_too_long input_too_long tokens_too_long
        """,
        ProviderContentFiltered: """
            content_filter content_filtered content_filter_error content_policy_violation
            responsible_ai_policy_violation data_inspection_failed moderation_blocked
            sensitive_content_detected input_text_sensitive_content_detected prohibited_content
            guardrail_intervened
        """,
        ProviderModelNotFound: """
            model_not_found model_not_available model_not_exist model_does_not_exist invalid_model
            unknown_model no_such_model model_decommissioned model_not_supported deployment_not_found
            invalid_endpoint_or_model.not_found
        """,
        ProviderQuotaExhausted: """
            insufficient_quota insufficient_balance insufficient_credits insufficient_user_quota
            billing_hard_limit_reached billing_not_active billing_error payment_required
            exceeded_current_quota_error arrearage
        """,
        ProviderAuthFailed: """
            invalid_api_key incorrect_api_key api_key_invalid account_deactivated
            authentication_error invalid_authentication_error unauthenticated
            permission_error permission_denied
        """,
    }
)
"""Codes that say more than the status they come with."""

LIMIT_CODES = _by_word(
    {
        ProviderRateLimited: """
            rate_limit rate_limited rate_limit_error rate_limit_exceeded rate_limit_reached
            rate_limit_reached_error too_many_requests resource_exhausted
            throttled throttling throttling_exception
        """
    }
)
"""Codes of a rate limit; the messages with them also mention tokens."""

LOOSE_CODES = _by_word(
    {
        ProviderUnavailable: """
            server_error internal_server_error internal_error internal internal_failure api_error
            engine_overloaded_error overloaded overloaded_error service_unavailable
            service_unavailable_error unavailable bad_gateway gateway_timeout timeout timeout_error
            request_timeout deadline_exceeded model_error generation incomplete_generation
        """,
        ProviderModelNotFound: "not_found not_found_error",
        # Google's code for a region or an account that it does not serve.
        ProviderAuthFailed: "failed_precondition",
        ProviderRefused: """
            invalid_request_error invalid_argument bad_request bad_request_error validation
            validation_error validation_exception unprocessable_entity unprocessable_entity_error
            invalid_parameter invalid_parameter_error invalid_value
        """,
    }
)
"""Codes that say no more than a status."""

FILTERED = re.compile(
    r"content[ _]filter|content (?:management )?polic|usage polic|flagged (?:as|by|for)\b"
    r"|safety system|content exists risk|inappropriate content|sensitive content"
    r"|considered high risk|by moderation|requires moderation|guardrail|敏感"
)

_INPUT = r"(?:prompt|inputs?|messages?|request|conversation|context)"
_SIZE = r"(?:body|entity|payload|size|length|text|tokens?)"
_OVER = r"exceed\w*|overflow\w*|(?:longer|larger|greater) than|must have (?:less|fewer) than|must be <=?"
_TOO_LONG = re.compile(
    "|".join(
        (
            r"(?:maximum|max|available|configured|models?) context\b",
            r"context[ _](?:length|window|size|limit)\W+(?:\w+\W+){0,4}?(?:exceed|overflow|reached|full)",
            r"context length (?:of|is) only",
            rf"(?:{_OVER})\W+(?:\w+\W+){{0,6}}?(?:context\b|max_(?:model|seq|input)_len)",
            rf"\b{_INPUT}(?: {_SIZE})?(?: (?:is|are|was|were))? ?too (?:long|large)\b",
            r"prompt contains \d+ tokens .{0,40}too large",
            r"too many (?:input |prompt |total )?tokens",
            rf"reduce (?:the |your )?(?:length|size|number of tokens) (?:of|in) (?:the |your )?{_INPUT}",
            rf"reduce (?:the |your )?(?:prompt|input|{_INPUT} (?:length|size))\b",
            rf"\b(?:{_INPUT}|tokens?)\b[^.:]{{0,60}}?(?:{_OVER})[^.]{{0,40}}?(?:{_SIZE}|limit|\d)",
            r"maximum (?:allowed )?(?:prompt|input|model|sequence|allowed) length",
            r"exceed\w* (?:the |its |model |maximum |max )*(?:allowed )?(?:token limit|length\b)",
            r"token limit (?:is |was |has been )?exceeded",
            r"range of input length should be",
            r"messages\S* string too long|expected maxlength",
            r"超长|超[出过]最大长度|上下文长度",
        )
    )
)
_OTHER_TOO_LONG = re.compile(
    # The limit on the answer, unless it is added to the length of the prompt.
    r"(?<!\+ )(?<!and )\bmax(?:imum)?[ _]?(?:\w+[ _])?tokens\W{0,3}(?:\d+\W+)?"
    r"(?:is|are|must|value|exceeds|cannot|should|too)\b"
    # Other fields of a request.
    r"|\b(?:stop|stop_sequences?|metadata|seed|tools?|functions?|temperature|images?|files?|schema)\b"
    r"[^.]{0,40}(?:exceed|too (?:long|large|many)|expected maxlength)"
)

_BAD_KEY = re.compile(
    r"(?:incorrect|invalid|wrong|missing|expired|revoked|no|unknown) (?:\w+ )?api[ _-]?key"
    r"|api[ _-]?key (?:\w+ ){0,2}(?:invalid|not valid|expired|missing|required|incorrect|revoked)"
    r"|invalid (?:authentication|authorization|credentials)|authentication fail"
)

OUT_OF_CREDIT = re.compile(
    r"insufficient[ _](?:account[ _])?(?:balance|credits?|funds|quota)|credit balance is too low"
    r"|(?:out of|no) credits|used (?:all|up)\b[^.]{0,30}credits|exceeded[^.]{0,30}\bcredits"
    r"|spend(?:ing)?[ _]limit|billing[^.]{0,20}(?:limit|inactive|not active|disabled)|enable billing"
    r"|余额不足|欠费"
)
QUOTA_OF_PLAN = re.compile(r"exceeded your current quota[^.]{0,20}check your plan")

NO_MODEL = re.compile(
    r"\bmodel\b[^\n]{0,120}?\b(?:does ?nt exist|does not exist|not exist|not found|not a valid model"
    r"|could not be found|no longer (?:available|exists|supported)"
    r"|has been (?:decommissioned|deprecated|removed|retired))"
    r"|\b(?:invalid|unknown|unrecognized|no such|unsupported) model\b|unexpected model name"
    r"|not a valid model|\bmodels/\S+ is not (?:found|supported)|no endpoints found for"
    r"|\bmodel:? (?!param|field|option|setting)\S+ is not (?:available|supported)\b(?! with| for| in)"
    r"|模型不存在"
)

_BUSY = re.compile(r"rate[ _-]?limit|too many requests")
_DOWN = re.compile(r"overloaded|at capacity|service (?:is )?(?:temporarily )?unavailable")
NO_SUCH_PATH = re.compile(
    r"\s*<.*|\W*(?:404:? )?(?:page )?not found\W*|.*(?:invalid url|unknown request url|no route matched"
    r"|cannot post /).*",
    re.DOTALL,
)
"""Messages about a URL and not about a model."""

TOO_LARGE_FOR_A_LIMIT = re.compile(r"request too large for\b")
"""A single request that exceeds the limit per minute, so waiting does not help (OpenAI, status 429)."""


def _is_too_long(said: str) -> bool:
    return bool(_TOO_LONG.search(said)) and not _OTHER_TOO_LONG.search(said)


_REFUSED: tuple[tuple[Callable[[str], object], Kind], ...] = (
    (FILTERED.search, ProviderContentFiltered),
    (_is_too_long, ContextLengthExceeded),
    (_BAD_KEY.search, ProviderAuthFailed),
    (OUT_OF_CREDIT.search, ProviderQuotaExhausted),
    (QUOTA_OF_PLAN.search, ProviderQuotaExhausted),
    (NO_MODEL.search, ProviderModelNotFound),
)
_FAILED: tuple[tuple[Callable[[str], object], Kind], ...] = (
    (_BUSY.search, ProviderRateLimited),
    (_DOWN.search, ProviderUnavailable),
    *_REFUSED,
)


def kind_of_sentence(said: str, *, is_refused: bool) -> Kind | None:
    """Return what a message means, or None if that is unknown.

    Args:
        said: `ErrorBody.text`.
        is_refused: whether the status says that the request was refused (400, 422); if not, the message may
            also be about a limit or an outage.
    """
    table = _REFUSED if is_refused else _FAILED
    return next((kind for means, kind in table if means(said)), None)
