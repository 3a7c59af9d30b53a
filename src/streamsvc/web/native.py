"""The native endpoints: create, follow, describe and stop a generation.

`docs/reference/http.md` has a table of what a client gets when it connects or reconnects; `stream_ai`, `create`, `events`
and `Viewing.attach` implement it.
"""

from starlette.requests import Request
from starlette.responses import Response

from streamsvc.config.settings import StreamSettings
from streamsvc.dialects.base import Dialect
from streamsvc.dialects.native.request import NativeRequestParser
from streamsvc.engine.supervisor import Supervisor
from streamsvc.errors import GenerationNotFound, InvalidField, Overloaded
from streamsvc.eventlog.base import BEFORE_FIRST, EventLog, stored_batches
from streamsvc.messages import GenerationRequest
from streamsvc.snapshot import Folding
from streamsvc.web import long_json
from streamsvc.web.creation import Creation
from streamsvc.web.negotiation import EVENT_STREAM, JSON, PLAIN, prefers
from streamsvc.web.requests import (
    CREATE_PARAMETERS,
    EVENTS_PARAMETERS,
    STREAM_PARAMETERS,
    RequestHead,
)
from streamsvc.web.responses import json_response, no_content
from streamsvc.web.stream.whole import head_response
from streamsvc.web.viewing import Viewing, address_of


class GenerationEndpoints:
    """The native HTTP interface to the engine.

    Args:
        supervisor: stops generations, and limits their viewers.
        log: their records.
        creation: reads request bodies, and starts generations.
        viewing: answers viewers.
        parser: parses request bodies.
        settings: how a stream looks.
    """

    def __init__(  # what the endpoints need, passed by name
        self,
        *,
        supervisor: Supervisor,
        log: EventLog,
        creation: Creation,
        viewing: Viewing,
        parser: NativeRequestParser,
        settings: StreamSettings,
    ) -> None:
        self._supervisor = supervisor
        self._log = log
        self._creation = creation
        self._viewing = viewing
        self._parser = parser
        self._settings = settings

    async def stream_ai(self, request: Request, head: RequestHead) -> Response:
        """`GET /stream-ai?prompt=…`: create and stream in one step; resume with a cursor."""
        head.check_parameters(STREAM_PARAMETERS)
        dialect = self._viewing.dialect(head)
        if request.method == "HEAD":
            return head_response()
        head.refuse_prefetch()
        try:
            if cursor := head.cursor:
                return await self._viewing.attach(request, head, cursor.generation, dialect)
            if head.has_cursor:  # not ours: there is nothing to resume, and nothing is created
                return self._viewing.gone(head)
            self._creation.check_origin(head)
            order = self._parser.from_query(head.parameters, head.principal)
            return await self._create_and_watch(request, order, head, dialect)
        except Overloaded as exc:
            return self._viewing.refusal(request, head, exc, dialect)

    async def create(self, request: Request, head: RequestHead) -> Response:
        """`POST /v1/generations`: create; the response is JSON, or the stream if the client asks for it."""
        head.check_parameters(CREATE_PARAMETERS)
        dialect = self._viewing.dialect(head)
        streams = prefers(head, EVENT_STREAM, JSON) or dialect.media_type == PLAIN
        cursor = head.cursor
        if cursor is not None and streams:
            return await self._viewing.attach(request, head, cursor.generation, dialect)
        if cursor is not None:
            return await self._describe(request, head, cursor.generation)
        if head.has_cursor:
            sentence = "The 'Last-Event-ID' was not issued by this service."
            raise InvalidField(sentence, field="Last-Event-ID")
        order = self._parser.parse(await self._creation.read(request, head), head.principal)
        if streams:
            return await self._create_and_watch(request, order, head, dialect)
        generation_id = await self._creation.start(order, head)
        return await self._describe(request, head, generation_id, status=201)

    async def events(self, request: Request, head: RequestHead) -> Response:
        """`GET /v1/generations/{id}/events`: attach or resume."""
        head.check_parameters(EVENTS_PARAMETERS)
        dialect = self._viewing.dialect(head)
        generation_id = request.path_params["id"]
        if request.method == "HEAD":
            return head_response()
        head.refuse_prefetch()
        try:
            return await self._viewing.attach(request, head, generation_id, dialect)
        except Overloaded as exc:
            return self._viewing.refusal(request, head, exc, dialect)

    def refuse(self, request: Request, head: RequestHead, exc: Overloaded) -> Response:
        """Answer a GET for a stream whose credential cannot be checked at the moment: a browser comes back later.

        Raises:
            RequestError: the client does not reconnect, and gets the refusal itself.
        """
        head.refuse_prefetch()
        if request.method == "HEAD":
            raise exc
        return self._viewing.refusal(request, head, exc, self._viewing.dialect(head))

    async def snapshot(self, request: Request, head: RequestHead) -> Response:
        """`GET /v1/generations/{id}`: the answer so far."""
        return await self._describe(request, head, request.path_params["id"])

    async def stop(self, request: Request, head: RequestHead) -> Response:
        """`POST /v1/generations/{id}/stop`: end it at once; idempotent."""
        self._creation.check_origin(head)
        generation_id = request.path_params["id"]
        head.check_own(generation_id)
        await self._supervisor.stop(generation_id)
        try:
            return await self._describe(request, head, generation_id)
        except GenerationNotFound:  # it is stopped, and ended generations are not kept
            return no_content()

    async def _create_and_watch(
        self, request: Request, order: GenerationRequest, head: RequestHead, dialect: Dialect
    ) -> Response:
        async with self._supervisor.viewer_place(head.principal) as lease:
            generation_id = await self._creation.start(order, head)
            return self._viewing.stream(
                request, head, generation_id, BEFORE_FIRST, dialect, lease=lease
            )

    async def _describe(
        self, request: Request, head: RequestHead, generation_id: str, *, status: int = 200
    ) -> Response:
        head.check_own(generation_id)
        folding = Folding()
        async for records in stored_batches(self._log, generation_id):
            folding.extend(records)
        headers = {"Location": address_of(request, generation_id), "X-Generation-Id": generation_id}
        return json_response(
            await long_json.encode(folding.snapshot), status=status, headers=headers
        )
