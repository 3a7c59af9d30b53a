"""How every endpoint that creates a generation checks the request and starts it."""

from collections.abc import Mapping

import msgspec
from starlette.requests import Request

from streamsvc.dialects.json_body import Body
from streamsvc.engine.entries import Terms
from streamsvc.engine.supervisor import Supervisor
from streamsvc.errors import RequestError
from streamsvc.messages import GenerationRequest
from streamsvc.web.bodies import BodyReader
from streamsvc.web.origins import Origins
from streamsvc.web.requests import RequestHead


class Creation:
    """Lets allowed pages create generations, within the limits.

    Args:
        supervisor: starts generations.
        terms: what they are made with.
        bodies: reads request bodies.
        origins: checks which pages may create.
    """

    def __init__(
        self, supervisor: Supervisor, terms: Terms, bodies: BodyReader, origins: Origins
    ) -> None:
        self._supervisor = supervisor
        self._terms = terms
        self._bodies = bodies
        self._origins = origins

    def check_origin(self, head: RequestHead) -> None:
        """Refuse a page whose origin may not start or stop answers.

        Raises:
            OriginRefused: its origin is not allowed.
        """
        self._origins.check(head)

    async def read(self, request: Request, head: RequestHead) -> Body:
        """Check the origin, then read the body.

        Raises:
            OriginRefused: see `check_origin`.
            RequestTooLarge: it is larger than `max_body_bytes`.
            UnsupportedEncoding: it is compressed.
            Overloaded: too many large bodies arrive at once.
        """
        self.check_origin(head)
        return await self._bodies.read(request, head)

    async def start(
        self,
        order: GenerationRequest,
        head: RequestHead,
        *,
        field_names: Mapping[str, str] | None = None,
    ) -> str:
        """Start a generation, or find the one that the request's key has started; return its id.

        Args:
            order: what to generate.
            head: of the request; it has the caller, and maybe an idempotency key.
            field_names: the client API's names for the engine's fields.

        Raises:
            StreamsvcError: see `Supervisor.create`.
        """
        caller = head.principal
        if caller.name:
            order = msgspec.structs.replace(order, principal=caller.name)
        try:
            return await self._supervisor.create(
                order, key=head.key(), caller=caller, terms=self._terms, asked_by=head.trace
            )
        except RequestError as exc:
            head.rename_field(exc, field_names)
            raise
