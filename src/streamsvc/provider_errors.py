"""Failures of calls to providers: the branch of the errors' tree that ends a generation, or leads to another call.

ProviderError
├── ProviderAuthFailed      401, 403
├── ProviderQuotaExhausted  402, an unpaid bill, a quota that is used up
├── ProviderMisconfigured   3xx, 405, 421 …: the URL is at fault, not the request
├── ProviderModelNotFound   404
│   └── NamedModelNotFound  the same for a model that the client named
├── ProviderRefused         400, 422
├── ProviderContentFiltered 4xx of a content filter
├── ContextLengthExceeded   413, and 400 with the words for it
├── ProviderRateLimited     429
├── ProviderUnavailable     5xx, connection refused, reset before the answer
├── ProviderTimedOut        connect, first token, idle, total
├── UpstreamCut             the connection ended before the answer did
├── EmptyAnswer             the answer contained nothing
└── UpstreamInvalid         the answer does not follow the API's documentation
"""

from typing import ClassVar

from streamsvc.errors import StreamsvcError


class ProviderError(StreamsvcError):
    """A call to a provider failed. Ends a generation as `failed`, unless another call succeeds.

    Attributes:
        outcome: its name in the logs and in the `Done`.
        retryable: whether the same request may succeed later.
        retry_same_provider: whether the same provider is called again; not after a silence, nor if it
            refused the request itself.
        is_outage: whether it counts against the provider's circuit; not if the request is at fault.
        setting: the key of the provider entry that the operator should check.
        retry_after_seconds: how long the upstream asks to wait, if it does.
    """

    code = "upstream_error"
    message = "The provider reported an error."
    outcome: str = "upstream_error"
    retryable: ClassVar[bool] = True
    retry_same_provider: ClassVar[bool] = True
    is_outage: ClassVar[bool] = True
    setting: ClassVar[str] = ""
    retry_after_seconds: float | None = None


class ProviderAuthFailed(ProviderError):
    """The upstream refused the configured key (401, 403)."""

    code = "provider_auth"
    message = "The provider refused the service's credentials."
    retryable = False
    retry_same_provider = False
    setting = "api_key_env"


class ProviderQuotaExhausted(ProviderError):
    """The account with the upstream is out of credit or quota (402, `insufficient_quota`).

    Unlike after a rate limit, waiting does not help.
    """

    code = "provider_quota"
    message = "The service's quota with the provider is used up."
    retryable = False
    retry_same_provider = False
    setting = "api_key_env"


class ProviderMisconfigured(ProviderError):
    """The entry's URL is at fault, not the request: 3xx, 405, 407, 421, 501 …, or a web page with a 200."""

    code = "provider_misconfigured"
    message = "The provider does not answer at its configured URL."
    retryable = False
    retry_same_provider = False
    setting = "base_url"


class ProviderModelNotFound(ProviderError):
    """The upstream does not know the configured model or path (404)."""

    code = "provider_model_not_found"
    message = "The provider does not know the configured model."
    retryable = False
    retry_same_provider = False
    setting = "model"


class NamedModelNotFound(ProviderModelNotFound):
    """The upstream does not know the model that the client named; the entry is not at fault."""

    message = "The provider does not know that model."
    is_outage = False
    setting = ""


class ProviderRefused(ProviderError):
    """The upstream refused the request itself (400, 422)."""

    code = "provider_refused"
    message = "The provider refused the request."
    retryable = False
    retry_same_provider = False
    is_outage = False


class ProviderContentFiltered(ProviderError):
    """The upstream refused the prompt because of its content; no other provider is called."""

    code = "content_filter"
    message = "The provider's content filter refused the request."
    retryable = False
    retry_same_provider = False
    is_outage = False


class ContextLengthExceeded(ProviderError):
    """The input is longer than the model's context window, or than the upstream accepts (413).

    Clients that shorten a conversation recognise the error by its code or by phrases of OpenAI's message;
    ours has those that LiteLLM, opencode and Cline look for.
    """

    code = "context_length_exceeded"
    message = (
        "The input exceeds the context window: this model's maximum context length is smaller. "
        "Please reduce the length of the messages."
    )
    retryable = False
    retry_same_provider = False
    is_outage = False


class ProviderRateLimited(ProviderError):
    """The upstream is rate-limiting requests (429)."""

    code = "provider_rate_limited"
    message = "The provider is rate-limiting the service."


class ProviderUnavailable(ProviderError):
    """The upstream is down, overloaded or unreachable."""

    code = "provider_unavailable"
    message = "The provider is not available."


class ProviderTimedOut(ProviderError):
    """A deadline of the provider entry passed.

    Attributes:
        deadline: `connect`, `first_token`, `idle` or `total`.
    """

    code = "provider_timeout"
    retry_same_provider = False

    def __init__(self, deadline: str) -> None:
        super().__init__(deadline)
        self.deadline = deadline
        self.outcome = f"{deadline}_timeout"
        self.message = f"The provider took too long ({deadline.replace('_', ' ')} deadline)."


class UpstreamCut(ProviderError):
    """The connection ended before the answer did."""

    code = "upstream_cut"
    message = "The provider's answer broke off in the middle."
    outcome = "upstream_cut"


class UpstreamInvalid(ProviderError):
    """The upstream sent something that does not follow its own protocol."""

    code = "upstream_invalid"
    message = "The provider sent an answer that could not be read."


class EmptyAnswer(ProviderError):
    """The model ended its answer (`stop`) without any text or reasoning."""

    code = "empty_answer"
    message = "The provider's answer was empty."
    is_outage = False
