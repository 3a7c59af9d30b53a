"""The native API's requests: the query of `GET /stream-ai`, the JSON bodies of `POST /v1/generations` and `/v1/tickets`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec

from streamsvc.dialects.json_body import Body, convert, decode
from streamsvc.dialects.request import RequestBuilder, RequestFields
from streamsvc.errors import InvalidField, RequestError
from streamsvc.messages import GenerationRequest
from streamsvc.principals import ANONYMOUS, Principal
from streamsvc.script import Script


class _Query(msgspec.Struct):
    """The parameters of a query that are JSON."""

    script: Script


class TicketFields(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/tickets`: what the ticket opens, `generation` or `request`, and for whom.

    Attributes:
        generation: the id of a generation of the caller.
        request: the body of `POST /v1/generations`.
        origin: the origin of the pages that may use the ticket, as a browser sends it; None: any.
    """

    generation: str | None = None
    request: RequestFields | None = None
    origin: str | None = None


class TicketRequest(msgspec.Struct, frozen=True):
    """What a client wants a ticket for.

    Attributes:
        opens: the id of a generation, or the request for a new one.
        origin: as in `TicketFields`, not validated.
    """

    opens: str | GenerationRequest
    origin: str | None


class NativeRequestParser:
    """Parses requests of the native API.

    Args:
        builder: applies the limits on every request.
    """

    def __init__(self, builder: RequestBuilder) -> None:
        self._builder = builder

    def from_query(
        self, query: Mapping[str, str], caller: Principal = ANONYMOUS
    ) -> GenerationRequest:
        """Parse the GET form, `?prompt=…&provider=…`.

        Raises:
            RequestError: names the parameter.
        """
        if "prompt" not in query:
            raise InvalidField("A prompt is required: ?prompt=…", field="prompt")
        return self._builder.build(
            RequestFields(
                prompt=query["prompt"],
                provider=query.get("provider"),
                fault=query.get("fault", ""),
                script=_script(query.get("script", "")),
            ),
            caller,
        )

    def parse(self, raw: Body, caller: Principal = ANONYMOUS) -> GenerationRequest:
        """Parse the JSON body of a POST.

        Raises:
            RequestError: names the field.
        """
        return self._builder.build(decode(raw, RequestFields), caller)

    def parse_ticket(self, raw: Body, caller: Principal = ANONYMOUS) -> TicketRequest:
        """Parse the JSON body of a request for a ticket.

        Raises:
            RequestError: names the field.
        """
        match decode(raw, TicketFields):
            case TicketFields(generation=str() as generation, request=None, origin=origin):
                return TicketRequest(generation, origin)
            case TicketFields(generation=None, request=RequestFields() as fields, origin=origin):
                with below("request"):
                    return TicketRequest(self._builder.build(fields, caller), origin)
            case _:
                raise InvalidField("Give either generation or request.", field="request")


@contextmanager
def below(field: str) -> Iterator[None]:
    """Make refusals name the fields of an object inside the body: `prompt` becomes `request.prompt`."""
    try:
        yield
    except RequestError as exc:
        if exc.field is not None:
            name = f"{field}.{exc.field}"
            exc.message = exc.message.replace(repr(exc.field), repr(name), 1)
            exc.field = name
        raise


def _script(text: str) -> Script:
    """Return the script in a query, where it is JSON.

    Raises:
        InvalidField: it is not JSON, or not a script.
    """
    if not text:
        return ()
    try:
        steps = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise InvalidField("Invalid 'script': it is not JSON.", field="script") from exc
    return convert({"script": steps}, _Query).script
