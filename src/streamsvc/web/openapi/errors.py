"""Refusals and failures: their statuses and codes, from the classes of the errors, and the shape they have in each API."""

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Literal, NamedTuple, assert_never, get_args

from streamsvc.dialects.openai.errors import CODES, STATUSES
from streamsvc.errors import (
    CursorLost,
    Draining,
    GenerationNotFound,
    HostRefused,
    InvalidField,
    MalformedRequest,
    ModelNotFound,
    NavigationRefused,
    OriginRefused,
    Overloaded,
    PrefetchRefused,
    ProviderNotReady,
    RateLimited,
    RequestError,
    RequestTooLarge,
    StoreUnavailable,
    StreamsvcError,
    TicketInvalid,
    TicketSpent,
    UnsupportedEncoding,
    UnsupportedParameter,
)
from streamsvc.provider_errors import ProviderError
from streamsvc.web.openapi.schemas import reference

Json = dict[str, Any]

Shape = Literal["problem", "openai", "text"]
"""How an API writes its errors: as problem details, as OpenAI's error object, or as a sentence."""


class Refusal(NamedTuple):
    """A reason why a request gets an error.

    Attributes:
        status: of the response.
        code: for programs.
        meaning: a sentence.
    """

    status: int
    code: str
    meaning: str


def refusal_of(error: type[RequestError]) -> Refusal:
    """Return what clients see of an error."""
    return Refusal(error.status, error.code, (error.__doc__ or "").partition("\n")[0])


BEFORE: Sequence[Refusal] = (
    Refusal(400, "malformed_request", "The request could not be read as HTTP/1.1."),
    Refusal(
        408, "request_timeout", "The request took too long to arrive (`server.request_seconds`)."
    ),
    Refusal(414, "too_large", "The URL is too long."),
    Refusal(429, "too_many_requests", "Too many pipelined requests are waiting on the connection."),
    Refusal(431, "too_large", "The headers are too long, or too many."),
)
"""What any request can get before its path is known: problem details in every API."""

ALWAYS: Sequence[Refusal] = (
    refusal_of(HostRefused),
    Refusal(500, StreamsvcError.code, StreamsvcError.message),
    refusal_of(Draining),
    Refusal(503, "not_started", "The service has not started."),
)
"""What any request can get, in the shape of its API."""

OF_PATH = (Refusal(404, "not_found", "Nothing is served at this path."),)
OF_BODY = (
    *(MalformedRequest, OriginRefused, RequestTooLarge, UnsupportedEncoding),
    *(
        InvalidField,
        UnsupportedParameter,
        ProviderNotReady,
        Overloaded,
        RateLimited,
        StoreUnavailable,
    ),
)
"""What a request that creates a generation from its body can get."""

OF_CREATING_BY_GET = (
    *(OriginRefused, RequestTooLarge, InvalidField, UnsupportedParameter),
    *(PrefetchRefused, ProviderNotReady, Overloaded, RateLimited, StoreUnavailable),
)
OF_GENERATION = (GenerationNotFound, StoreUnavailable)
OF_TICKET = (TicketInvalid, TicketSpent, NavigationRefused)
OF_MODEL = (ModelNotFound, InvalidField)
OF_WATCHING = (InvalidField, PrefetchRefused, Overloaded, RateLimited, StoreUnavailable)
OF_STOPPING = (OriginRefused, StoreUnavailable)
GONE = Refusal(410, CursorLost.code, CursorLost.message)

OTHER_FAILURES = (
    "drained",
    "interrupted",
    "internal_error",
    "not_resumable",
    "stopped",
    "upstream_lost",
)
"""The codes of answers that fail, besides those of `ProviderError`."""


def failures() -> Sequence[Refusal]:
    """Return how an answer that fails before its first token ends a request of OpenAI's API."""
    kinds = [ProviderError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    codes = dict.fromkeys((*(kind.code for kind in kinds), *OTHER_FAILURES))
    return [
        Refusal(STATUSES.get(code, HTTPStatus.BAD_GATEWAY), code, "The answer failed.")
        for code in codes
    ]


def responses(refusals: Iterable[Refusal], shape: Shape, *, in_full: Container[int] = ()) -> Json:
    """Return the error responses of an operation, by status.

    Args:
        refusals: what it can get besides `BEFORE` and `ALWAYS`, in the shape of its API.
        shape: that shape.
        in_full: the statuses whose responses do not refer to those that operations have in common.
    """
    own = defaultdict[int, list[Refusal]](list)
    for refusal in dict.fromkeys(refusals):
        own[_status(refusal.status, shape)].append(refusal)
    common = {refusal.status for refusal in (*BEFORE, *ALWAYS)}
    return {
        str(status): _response(status, own[status], shape)
        if own[status] or status in in_full
        else {"$ref": f"#/components/responses/{_name(status, shape)}"}
        for status in sorted({*own, *common})
    }


def common_responses() -> Json:
    """Return the responses that operations have in common, by name."""
    statuses = sorted({refusal.status for refusal in (*BEFORE, *ALWAYS)})
    shapes: Sequence[Shape] = get_args(Shape)
    return {
        _name(status, shape): _response(status, (), shape)
        for shape in shapes
        for status in statuses
    }


def _name(status: int, shape: Shape) -> str:
    """Return what the document calls the response that all operations of an API have for a status."""
    is_same = all(refusal.status != status for refusal in ALWAYS)
    return f"Error{status}" if is_same or shape == "problem" else f"Error{status}.{shape}"


def _status(status: int, shape: Shape) -> int:
    """Return the status in an API: OpenAI's clients expect 400 where other APIs have 422."""
    is_invalid = status == HTTPStatus.UNPROCESSABLE_ENTITY
    return HTTPStatus.BAD_REQUEST if is_invalid and shape == "openai" else status


def _response(status: int, own: Sequence[Refusal], shape: Shape) -> Json:
    """Return a response.

    Args:
        status: of the response.
        own: why an operation sends it, besides `BEFORE` and `ALWAYS`.
        shape: of its API.
    """
    before = [refusal for refusal in BEFORE if refusal.status == status]
    late = [*own, *(it for it in ALWAYS if it.status == status and it not in own)]
    content: dict[str, Json] = {}
    shapes: Sequence[tuple[Sequence[Refusal], Shape]] = ((before, "problem"), (late, shape))
    for refusals, its_shape in shapes:
        if refusals:
            media_type, schema = _body(
                status, before + late if shape == "problem" else refusals, its_shape
            )
            content[media_type] = {"schema": schema}
    known = {it.code: it.meaning for it in (*before, *late)}
    lines = [f"* `{_named(code, shape)}`: {meaning}" for code, meaning in known.items()]
    response: Json = {
        "description": "\n".join(lines),
        "content": content,
    }
    if headers := _headers(status, shape):
        response["headers"] = headers
    return response


def _named(code: str, shape: Shape) -> str:
    return CODES.get(code, code) if shape == "openai" else code


def _body(status: int, refusals: Sequence[Refusal], shape: Shape) -> tuple[str, Json]:
    """Return the media type and the schema of an error."""
    named: Json = {
        "properties": {"code": {"enum": sorted({_named(it.code, shape) for it in refusals})}}
    }
    match shape:
        case "problem":
            named["properties"]["status"] = {"const": status}
            return "application/problem+json", {"allOf": [reference("Problem"), named]}
        case "openai":
            error = {"properties": {"error": named}}
            return "application/json", {"allOf": [reference("ErrorBody"), error]}
        case "text":
            return "text/plain", {"type": "string", "description": "A sentence for people."}
        case other:
            assert_never(other)


def _headers(status: int, shape: Shape) -> Mapping[str, Json]:
    found = {}
    if status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}:
        found["Retry-After"] = {"$ref": "#/components/headers/Retry-After"}
    if status == HTTPStatus.UNAUTHORIZED:
        found["WWW-Authenticate"] = {"$ref": "#/components/headers/WWW-Authenticate"}
    if status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        found["Accept-Encoding"] = {"$ref": "#/components/headers/Accept-Encoding"}
    if shape == "openai":
        found["X-Should-Retry"] = {"$ref": "#/components/headers/X-Should-Retry"}
    return found
