"""Everything that can go wrong, as one tree.

Each class has a public `code` and a public sentence, `message`: that, and nothing else, is what
clients see. The text of a foreign exception never travels further than `__cause__`.

    StreamsvcError
    ├── ConfigError                 the operator's settings; the process does not start
    ├── RequestError                the client's request; has an HTTP `status`
    │   ├── MalformedRequest        400
    │   ├── OriginRefused           403
    │   ├── GenerationNotFound      404
    │   ├── ModelNotFound           404
    │   ├── RequestTooLarge         413
    │   ├── UnsupportedEncoding     415
    │   ├── HostRefused             421
    │   ├── InvalidField            422
    │   ├── PrefetchRefused         503
    │   ├── ProviderNotReady        503
    │   └── Overloaded              503
    │       └── Draining            503
    ├── CursorLost                  the records after a viewer's cursor are gone
    ├── LogError                    part of the event log's port, in `eventlog.base`; no client sees it
    │   ├── LogEnded                the reader has everything
    │   ├── LogFull                 the generation has said more than its log may hold
    │   └── LogClosed               an append after the `Done`
    └── ProviderError               the upstream's answer; ends a generation, `retryable` or not
        ├── ProviderAuthFailed      401, 403
        ├── ProviderQuotaExhausted  402, a bill that is not paid, a quota that is used up
        ├── ProviderMisconfigured   3xx, 405, 421 …: nothing about the request
        ├── ProviderModelNotFound   404
        │   └── NamedModelNotFound  of a model that the client named
        ├── ProviderRefused         400, 422
        ├── ProviderContentFiltered 4xx of a content filter
        ├── ContextLengthExceeded   413, and 400 with the words for it
        ├── ProviderRateLimited     429
        ├── ProviderUnavailable     5xx, connection refused, reset before the answer
        ├── ProviderTimedOut        connect, first token, idle, total
        ├── UpstreamCut             the answer ended in its middle
        ├── EmptyAnswer             the answer ended, and there was nothing in it
        └── UpstreamInvalid         the answer is not what the API's documentation says
"""

import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType
from typing import ClassVar

_PACKAGE = Path(__file__).parent

_MOST_FRAMES = 20
"""How many frames a log line has; an endless recursion has a thousand."""


class StreamsvcError(Exception):
    """The root of the tree."""

    code: ClassVar[str] = "internal_error"
    message: str = "Something went wrong inside the service."


class ConfigError(StreamsvcError):
    """Settings that cannot be used. The text is a line for the operator for each mistake."""

    code = "config_error"


class RequestError(StreamsvcError):
    """A request that is refused before anything streams.

    Attributes:
        status: the HTTP status of the answer.
        field: the JSON field, query parameter or header at fault, if there is one.
        log_details: what the log says besides the code, as `name=value`: nothing of a prompt or a key.
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
    """A page of another origin, which may not read the answer, must not start one either."""

    code = "origin_refused"
    status = 403

    def __init__(self, origin: str | None) -> None:
        pages = "Pages of this origin" if origin is None else f"Pages of the origin {origin}"
        super().__init__(
            f"{pages} are not allowed; cors.origins in the settings allows them.", field="Origin"
        )
        self.log_details = f"origin={origin or '*'} setting=cors.origins"


class HostRefused(RequestError):
    """A `Host` that is not served: a name that somebody else may have pointed at this machine."""

    code = "host_refused"
    status = 421

    def __init__(self, host: str | None) -> None:
        name = "This host" if host is None else f"The host {host}"
        super().__init__(
            f"{name} is not served here; if it is this service's, name it in server.hosts"
            " in the settings.",
            field="Host",
        )
        self.log_details = f"host={host or '*'} setting=server.hosts"


class GenerationNotFound(RequestError):
    """No such generation: never made, or past its retention."""

    code = "generation_not_found"
    status = 404

    def __init__(self) -> None:
        super().__init__("There is no such generation, or it is no longer kept.")


class ModelNotFound(RequestError):
    """What a client names as the model is no provider entry."""

    code = "model_not_found"
    status = 404

    def __init__(self, known: Iterable[str]) -> None:
        names = ", ".join(sorted(known))
        super().__init__(f"There is no such model; there are: {names}.", field="model")


class RequestTooLarge(RequestError):
    """The input is larger than the configured bound."""

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
    """A field of a readable request is wrong; `field` says which, and so does the sentence.

    Many clients show the sentence alone.
    """

    code = "invalid_field"
    status = 422


class Overloaded(RequestError):
    """A configured bound on running generations or viewers is reached.

    Attributes:
        retry_after_seconds: when it is worth trying again.
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
    """A browser asks ahead of its user, who may never come; the answer would be paid for.

    A browser keeps what a prefetch got if its status is 2xx, and asks again if it is not.
    """

    code = "prefetch_refused"
    status = 503

    def __init__(self) -> None:
        super().__init__("Answers are not prefetched; ask when somebody reads.")


class ProviderNotReady(RequestError):
    """The provider exists in the configuration, but its key is not set."""

    code = "provider_not_ready"
    status = 503

    def __init__(self, provider: str) -> None:
        super().__init__(
            f"The provider {provider!r} is configured, but its key is not set.", field="provider"
        )


class LogError(StreamsvcError):
    """What an event log says of itself; a client never sees it, unless the program has a bug."""


class CursorLost(StreamsvcError):
    """Records after a viewer's cursor cannot be delivered any more."""

    code = "not_resumable"
    message = "The answer can no longer be resumed; ask again."


class ProviderError(StreamsvcError):
    """The upstream failed. Ends a generation as `failed`.

    Attributes:
        outcome: the word for it in logs and in the terminal event.
        retryable: whether the same request may succeed later.
        is_worth_repeating: whether the same provider is asked again at once. One that was silent, or
            that does not like the request, is not.
        is_outage: whether it counts against the provider's circuit. What the request is to blame
            for does not.
        setting: the key of the provider entry that an operator should look at.
        retry_after_seconds: when the upstream wants to be asked again, where it said so.
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

    Unlike a rate limit, waiting does not help.
    """

    code = "provider_quota"
    message = "The service's quota with the provider is used up."
    retryable = False
    retry_same_provider = False
    setting = "api_key_env"


class ProviderMisconfigured(ProviderError):
    """The answer concerns the entry's address, not the request: 3xx, 405, 407, 421, 501 …, a page under 200."""

    code = "provider_misconfigured"
    message = "The provider does not answer at its configured address."
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
    """The upstream does not know the model that the client named: no fault of the entry's."""

    message = "The provider does not know that model."
    is_outage = False
    setting = ""


class ProviderRefused(ProviderError):
    """The upstream refused the request as such (400, 422)."""

    code = "provider_refused"
    message = "The provider refused the request."
    retryable = False
    retry_same_provider = False
    is_outage = False


class ProviderContentFiltered(ProviderError):
    """The upstream refused the prompt for what it says: nobody else is to be asked."""

    code = "content_filter"
    message = "The provider's content filter refused the request."
    retryable = False
    retry_same_provider = False
    is_outage = False


class ContextLengthExceeded(ProviderError):
    """The input is longer than the model's context window, or than the upstream takes (413).

    Clients that shorten a conversation know the error by its code or by the words of OpenAI's sentence;
    the message has those that LiteLLM, opencode and Cline look for.
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
    """The upstream asks for patience (429)."""

    code = "provider_rate_limited"
    message = "The provider is rate-limiting the service."


class ProviderUnavailable(ProviderError):
    """The upstream is down, overloaded or out of reach."""

    code = "provider_unavailable"
    message = "The provider is not available."


class ProviderTimedOut(ProviderError):
    """A deadline of the provider entry passed.

    Attributes:
        deadline: which one: `connect`, `first_token`, `idle` or `total`.
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
    """The upstream sent something that is not its own protocol."""

    code = "upstream_invalid"
    message = "The provider sent an answer that could not be read."


class EmptyAnswer(ProviderError):
    """The model ended its answer (`stop`) with nothing in it: no text and no reasoning."""

    code = "empty_answer"
    message = "The provider's answer was empty."
    is_outage = False


def describe(exc: BaseException) -> str:
    """Return the kind of an exception, where it comes from, and our frames on the way, for logs.

    Frames are `file:line:function`, the outermost first. There are no values and no source lines, and not
    the exception's text: each may hold a prompt or a key.
    """
    passed = [*_frames(exc)]
    while isinstance(exc, BaseExceptionGroup):  # what task groups wrap around it
        exc = exc.exceptions[0]
        passed += _frames(exc)
    frames = [(Path(code.co_filename), line, code.co_qualname) for code, line in passed]
    place = f"{frames[-1][0].name}:{frames[-1][1]}" if frames else "unknown"
    ours = [
        f"{path.relative_to(_PACKAGE)}:{line}:{function}"
        for path, line, function in frames
        if path.is_relative_to(_PACKAGE)
    ]
    if len(ours) > _MOST_FRAMES:
        ours[_MOST_FRAMES // 2 : -_MOST_FRAMES // 2] = ["..."]
    way = ">".join(ours) or "none"
    return f"exception={type(exc).__name__} at={place} causes={causes(exc)} frames={way}"


def _frames(exc: BaseException) -> Iterator[tuple[CodeType, int]]:
    for frame, line in traceback.walk_tb(exc.__traceback__):
        yield frame.f_code, line


def causes(exc: BaseException) -> str:
    """Return the kinds of what lies behind an exception, nearest first, for logs."""
    kinds = []
    while (cause := exc.__cause__ or exc.__context__) is not None:
        kinds.append(type(cause).__name__)
        exc = cause
    return "<".join(kinds) or "none"
