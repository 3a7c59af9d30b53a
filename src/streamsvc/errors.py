"""Everything that can go wrong, as one tree.

Each class has a public `code` and a public `message`, one sentence; clients see these and nothing else. The
text of a foreign exception never gets further than `__cause__`.

    StreamsvcError
    ├── ConfigError                 unusable settings; the process does not start
    ├── RequestError                a refused request; has an HTTP `status`
    │   ├── MalformedRequest        400
    │   ├── Unauthorized            401
    │   ├── OriginRefused           403
    │   ├── NavigationRefused       403
    │   ├── OperatorsOnly           403
    │   ├── TicketInvalid           403
    │   ├── TicketSpent             403
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
    │       ├── Draining            503
    │       ├── IssuerUnavailable   503, the keys of the token issuer cannot be fetched
    │       ├── RateLimited         429, what a principal may use
    │       └── StoreUnavailable    503, the store that all workers share cannot be used
    ├── CursorLost                  the records after a viewer's cursor are gone
    │   └── CursorReplaced          only the record at the cursor is: a replay from the start shows the answer
    ├── LogError                    part of the event log's port, in `eventlog.base`; no client sees it
    │   ├── LogEnded                the reader has everything
    │   ├── LogFull                 the generation's log has reached its limit
    │   ├── LogTakenOver            another process writes this log now
    │   └── LogClosed               an append after the `Done`
    └── ProviderError               a failed call to a provider, in `provider_errors`
"""

import math
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import ClassVar


class StreamsvcError(Exception):
    """The root of the tree."""

    code: ClassVar[str] = "internal_error"
    message: str = "Something went wrong inside the service."


EXIT_CRASHED = 1
"""The exit code of a service that a bug has ended: something has to start it again."""

EXIT_CONFIG = 2
"""The exit code of a command whose settings or arguments are unusable."""


class ConfigError(StreamsvcError):
    """Unusable settings. The text has one line for each mistake, for the operator."""

    code = "config_error"


class RequestError(StreamsvcError):
    """A request that is refused before anything streams.

    Attributes:
        status: the HTTP status of the response.
        field: the JSON field, query parameter or header at fault, if any.
        log_details: what the log line shows besides the code, by name; never part of a prompt or a key.
    """

    code = "bad_request"
    status: ClassVar[int] = 400
    log_details: Mapping[str, str] = MappingProxyType({})

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class MalformedRequest(RequestError):
    """The request cannot be read at all."""

    code = "malformed_request"
    status = 400


class Unauthorized(RequestError):
    """There is no valid credential. An unknown, a malformed and a revoked one get the same answer.

    Args:
        was_given: whether the request has a credential.

    Attributes:
        was_given: the argument.
    """

    code = "unauthorized"
    status = 401

    def __init__(self, *, was_given: bool) -> None:
        self.was_given = was_given
        super().__init__(
            "The API key or token is not valid."
            if was_given
            else "An API key or token is required; send it as 'Authorization: Bearer …'.",
            field="Authorization",
        )
        self.log_details = {"credential": "invalid" if was_given else "missing"}


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
        self.log_details = {"origin": origin or "*", "setting": "cors.origins"}


class NavigationRefused(RequestError):
    """A ticket's address was opened as a page, an image or the like: only a script of the page may spend it."""

    code = "navigation_refused"
    status = 403

    def __init__(self) -> None:
        super().__init__(
            "This address is for an EventSource or fetch in a page; opening it here would use up its ticket."
        )


class OperatorsOnly(RequestError):
    """The figures of the service are for programs on its own machine, unless the settings say otherwise."""

    code = "operators_only"
    status = 403

    def __init__(self) -> None:
        super().__init__(
            "This address is only for programs on the service's own machine, without a proxy in between;"
            " metrics.access in the settings changes that."
        )
        self.log_details = {"setting": "metrics.access"}


class TicketInvalid(RequestError):
    """There is no such ticket: a wrong, an expired and a revoked one get the same answer.

    Args:
        why: in a word, for the log.
    """

    code = "ticket_invalid"
    status = 403

    def __init__(self, why: str) -> None:
        super().__init__("The ticket is invalid or has expired; request a new one.", field="ticket")
        self.log_details = {"ticket": why}


class TicketSpent(RequestError):
    """A ticket has opened its stream, and the client has no cursor of it."""

    code = "ticket_spent"
    status = 403

    def __init__(self) -> None:
        super().__init__("The ticket has been used; request a new one.", field="ticket")


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
        self.log_details = {"host": host or "*", "setting": "server.hosts"}


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
        self.log_details = {"provider": provider, "field": field}


class Overloaded(RequestError):
    """A configured limit on running generations or viewers is reached.

    Attributes:
        retry_after_seconds: how long a client should wait before it tries again.
    """

    code = "overloaded"
    status = 503
    retry_after_seconds: float = 2

    def __init__(self, limit: str) -> None:
        super().__init__(f"The service is at its configured limit ({limit}).")
        self.log_details = {"limit": limit}


class RateLimited(Overloaded):
    """A principal, or all of them together, uses as much as is allowed.

    Args:
        limit: the setting.
        what: what is limited.
        most: how much is allowed; None if the client may not know that.
        wait_seconds: when the same request would be admitted; None: unknown, because it depends on other requests.

    Attributes:
        wait_seconds: the argument.
    """

    code = "rate_limited"
    status = 429

    def __init__(self, limit: str, what: str, most: int | None, wait_seconds: float | None) -> None:
        self.wait_seconds = wait_seconds
        if wait_seconds is not None:
            self.retry_after_seconds = wait_seconds
        when = "later" if wait_seconds is None else f"in {math.ceil(wait_seconds)} s"
        figure = "" if most is None else f": {most}"
        RequestError.__init__(
            self, f"The limit of {what} is reached ({limit}{figure}); try again {when}."
        )
        self.log_details = {"limit": limit}


class Draining(Overloaded):
    """The service is shutting down and takes no new work."""

    code = "draining"

    def __init__(self) -> None:
        RequestError.__init__(self, "The service is shutting down and takes no new work.")


class IssuerUnavailable(Overloaded):
    """The keys of the token issuer cannot be fetched, and none of those known is the one that is needed."""

    code = "issuer_unavailable"

    def __init__(self) -> None:
        RequestError.__init__(
            self, "The service cannot check tokens at the moment; try again.", field="Authorization"
        )
        self.log_details = {"setting": "jwt.jwks_url"}


class StoreUnavailable(Overloaded):
    """The store that all workers share cannot be reached, is full, or accepts no writes."""

    code = "store_unavailable"

    def __init__(self, reason: str) -> None:
        RequestError.__init__(self, "The service cannot reach its store at the moment; try again.")
        self.log_details = {"reason": reason}


class PrefetchRefused(RequestError):
    """A browser prefetches an answer that its user may never read, but that would have to be paid for.

    A browser keeps the result of a prefetch if its status is 2xx; otherwise it requests it again.
    """

    code = "prefetch_refused"
    status = 503

    def __init__(self) -> None:
        super().__init__("Answers cannot be prefetched; send the request when it is needed.")


class ProviderNotReady(RequestError):
    """The provider exists in the configuration, but its key is not set, or its SDK is not installed."""

    code = "provider_not_ready"
    status = 503

    def __init__(self, provider: str, *, lacks: str = "its key is not set") -> None:
        super().__init__(f"The provider {provider!r} is configured, but {lacks}.", field="provider")


class LogError(StreamsvcError):
    """What the event log's port raises besides the errors of requests; never reaches a client."""


class CursorLost(StreamsvcError):
    """Records after a viewer's cursor cannot be delivered any more."""

    code = "not_resumable"
    message = "The answer can no longer be resumed; ask again."


class CursorReplaced(CursorLost):
    """The record at a viewer's cursor was never stored, and its process is gone; the answer goes on without it.

    A replay from the start shows the whole answer.
    """
