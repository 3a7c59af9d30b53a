"""Everything that can go wrong, as one tree.

Each class has a public `code` and a public `message`, one sentence; clients see these and nothing else. The
text of a foreign exception never gets further than `__cause__`.

    StreamsvcError
    ├── ConfigError                 unusable settings; the process does not start
    ├── RequestError                a refused request; has an HTTP `status`
    │   ├── MalformedRequest        400
    │   ├── OriginRefused           403
    │   ├── GenerationNotFound      404
    │   ├── ModelNotFound           404
    │   ├── RequestTooLarge         413
    │   ├── UnsupportedEncoding     415
    │   ├── HostRefused             421
    │   ├── InvalidField            422
    │   │   └── UnsupportedParameter  a parameter that the provider's API lacks
    │   ├── PrefetchRefused         503
    │   ├── ProviderNotReady        503
    │   └── Overloaded              503
    │       └── Draining            503
    ├── CursorLost                  the records after a viewer's cursor are gone
    ├── LogError                    part of the event log's port, in `eventlog.base`; no client sees it
    │   ├── LogEnded                the reader has everything
    │   ├── LogFull                 the generation's log has reached its limit
    │   └── LogClosed               an append after the `Done`
    └── ProviderError               a failed call to a provider; ends a generation, `retryable` or not
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

from collections.abc import Collection, Iterable
from typing import ClassVar


class StreamsvcError(Exception):
    """The root of the tree."""

    code: ClassVar[str] = "internal_error"
    message: str = "Something went wrong inside the service."


class ConfigError(StreamsvcError):
    """Unusable settings. The text has one line for each mistake, for the operator."""

    code = "config_error"


class RequestError(StreamsvcError):
    """A request that is refused before anything streams.

    Attributes:
        status: the HTTP status of the response.
        field: the JSON field, query parameter or header at fault, if any.
        log_details: what the log line shows besides the code, as `name=value`; never part of a prompt or
            a key.
    """

    code = "bad_request"
    status: ClassVar[int] = 400
    log_details: str = ""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class MalformedRequest(RequestError):
    """The request cannot be read at all."""

    code = "malformed_request"
    status = 400


class OriginRefused(RequestError):
    """A page from another origin may not read an answer, so it must not start one either."""

    code = "origin_refused"
    status = 403

    def __init__(self, origin: str | None) -> None:
        pages = "Pages from this origin" if origin is None else f"Pages from the origin {origin}"
        super().__init__(
            f"{pages} are not allowed; to allow them, add the origin to cors.origins in the settings.",
            field="Origin",
        )
        self.log_details = f"origin={origin or '*'} setting=cors.origins"


class HostRefused(RequestError):
    """A `Host` that is not served: someone else may have pointed that name at this machine."""

    code = "host_refused"
    status = 421

    def __init__(self, host: str | None) -> None:
        name = "This host" if host is None else f"The host {host}"
        super().__init__(
            f"{name} is not served here; if it belongs to this service, add it to server.hosts"
            " in the settings.",
            field="Host",
        )
        self.log_details = f"host={host or '*'} setting=server.hosts"


class GenerationNotFound(RequestError):
    """The generation never existed, or is no longer kept."""

    code = "generation_not_found"
    status = 404

    def __init__(self) -> None:
        super().__init__("The generation does not exist, or is no longer kept.")


class ModelNotFound(RequestError):
    """The `model` of a request is not the name of a provider entry."""

    code = "model_not_found"
    status = 404

    def __init__(self, known: Iterable[str]) -> None:
        names = ", ".join(sorted(known))
        super().__init__(f"The model does not exist; available: {names}.", field="model")


class RequestTooLarge(RequestError):
    """The request is larger than the configured limit."""

    code = "too_large"
    status = 413


class UnsupportedEncoding(RequestError):
    """The body is compressed."""

    code = "unsupported_encoding"
    status = 415

    def __init__(self) -> None:
        super().__init__(
            "The body is compressed; send it without a Content-Encoding.", field="Content-Encoding"
        )


class InvalidField(RequestError):
    """A field of a readable request is wrong; both `field` and the sentence name it.

    Many clients show only the message.
    """

    code = "invalid_field"
    status = 422


class UnsupportedParameter(InvalidField):
    """The provider's API lacks a parameter, or content of some kind, and nothing was asked.

    Args:
        provider: the requested entry.
        lacked: what it lacks, in words.
        field: the first of them, by its name in the request.
        may_drop: whether a setting of the entry drops them instead.
    """

    code = "unsupported_parameter"

    def __init__(
        self, provider: str, lacked: Collection[str], *, field: str, may_drop: bool
    ) -> None:
        remedy = "leave it out" if len(lacked) == 1 else "leave them out"
        if may_drop:
            remedy += f', or set providers.{provider}.params_unsupported = "drop" in the settings'
        super().__init__(
            f"The provider {provider!r} does not support {' and '.join(lacked)}; {remedy}.",
            field=field,
        )
        self.log_details = f"provider={provider} field={field}"


class Overloaded(RequestError):
    """A configured limit on running generations or viewers is reached.

    Attributes:
        retry_after_seconds: how long a client should wait before it tries again.
    """

    code = "overloaded"
    status = 503
    retry_after_seconds: ClassVar[int] = 2

    def __init__(self, limit: str) -> None:
        super().__init__(f"The service is at its configured limit ({limit}).")
        self.log_details = f"limit={limit}"


class Draining(Overloaded):
    """The service is shutting down and takes no new work."""

    code = "draining"

    def __init__(self) -> None:
        RequestError.__init__(self, "The service is shutting down and takes no new work.")


class PrefetchRefused(RequestError):
    """A browser prefetches an answer that its user may never read, but that would have to be paid for.

    A browser keeps the result of a prefetch if its status is 2xx; otherwise it requests it again.
    """

    code = "prefetch_refused"
    status = 503

    def __init__(self) -> None:
        super().__init__("Answers cannot be prefetched; send the request when it is needed.")


class ProviderNotReady(RequestError):
    """The provider exists in the configuration, but its key is not set."""

    code = "provider_not_ready"
    status = 503

    def __init__(self, provider: str) -> None:
        super().__init__(
            f"The provider {provider!r} is configured, but its key is not set.", field="provider"
        )


class LogError(StreamsvcError):
    """What the event log's port raises besides the errors of requests; never reaches a client."""


class CursorLost(StreamsvcError):
    """Records after a viewer's cursor cannot be delivered any more."""

    code = "not_resumable"
    message = "The answer can no longer be resumed; ask again."


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
