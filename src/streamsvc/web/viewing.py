"""How an endpoint of the native API answers a viewer: with a stream, or with the reason why there is none.

`docs/reference/http.md` has a table of what a client gets when it connects or reconnects; `Viewing.attach` implements most of it,
and the endpoints in `native` and `tickets` the rest.
"""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from streamsvc.config.settings import StreamSettings
from streamsvc.dialects.base import Dialect
from streamsvc.dialects.plain.frames import PlainDialect
from streamsvc.engine.audience import Count
from streamsvc.engine.ids import new_id
from streamsvc.engine.supervisor import Supervisor
from streamsvc.errors import (
    CursorLost,
    CursorReplaced,
    GenerationNotFound,
    InvalidField,
    Overloaded,
    RequestError,
)
from streamsvc.eventlog.base import BEFORE_FIRST, EventLog, LogEnded
from streamsvc.hooks import Hooks, Resumed
from streamsvc.web.negotiation import PLAIN, end_of, format_of
from streamsvc.web.refusals import Refusals
from streamsvc.web.requests import RequestHead
from streamsvc.web.responses import no_content
from streamsvc.web.stream.first_event import DeferredHead
from streamsvc.web.stream.streams import Streams
from streamsvc.web.stream.whole import busy_response, gone_response


class Viewing:
    """Answers viewers.

    Args:
        supervisor: limits their number.
        log: the records.
        streams: makes the streaming responses.
        refusals: reports a refusal that looks like a stream.
        dialects: by their value of `?format=`; `json` is the default.
        settings: how a stream looks.
        hooks: get a report of each client that resumes.
    """

    def __init__(  # noqa: PLR0913  # what viewers need, passed by name
        self,
        *,
        supervisor: Supervisor,
        log: EventLog,
        streams: Streams,
        refusals: Refusals,
        dialects: Mapping[str, Dialect],
        settings: StreamSettings,
        hooks: Hooks,
    ) -> None:
        self._hooks = hooks
        self._supervisor = supervisor
        self._log = log
        self._streams = streams
        self._refusals = refusals
        self._dialects = dialects
        self._settings = settings

    def dialect(self, head: RequestHead) -> Dialect:
        """Return the dialect of a stream, from `?format=`, `?end=` and `Accept`.

        Raises:
            InvalidField: there is no such format, or it takes no `end`.
        """
        dialect = format_of(head, self._dialects, usual="json")
        end = end_of(head)
        if not end:
            return dialect
        if dialect.media_type != PLAIN:
            raise InvalidField(
                "The 'end' parameter needs plain text; add format=plain.", field="end"
            )
        return PlainDialect(end)

    def refusal(
        self, request: Request, head: RequestHead, exc: RequestError, dialect: Dialect
    ) -> Response:
        """Answer a client that reconnects by itself in the form of a stream: with any other status it would give up.

        At a limit it is asked to come back later; else a `done` says what is wrong.

        Raises:
            RequestError: the client does not reconnect, and gets the refusal itself.
        """
        if not dialect.is_resumable:
            raise exc
        self._refusals.note(request.scope, 200, exc.code, exc.log_details)
        if isinstance(exc, Overloaded):
            return busy_response(self._settings, exc, cut_at=head.cut_at)
        return gone_response(new_id(), self._settings, because=exc, cut_at=head.cut_at)

    async def attach(
        self,
        request: Request,
        head: RequestHead,
        generation_id: str,
        dialect: Dialect,
        *,
        instead: DeferredHead | None = None,
    ) -> Response:
        """Answer a viewer: with the stream after its cursor, or the reason why there is none.

        Args:
            request: the request.
            head: of the request; it has the caller, whose generation it must be, and maybe a cursor.
            generation_id: the generation to watch; a cursor of another one counts as none.
            dialect: of the stream.
            instead: may replace the stream with another response.

        Raises:
            GenerationNotFound: there is no cursor, and no such generation of this caller.
            Overloaded: the limit on viewers is reached, or the store cannot be used.
        """
        after, cursor, resumed = BEFORE_FIRST, head.cursor, None
        if cursor is not None and cursor.generation == generation_id:
            if cursor.seq is None:
                return no_content()
            resumed = await self._resumed(head, generation_id, cursor.seq)
            if resumed.result == "gone":
                return self.gone(head, generation_id)
            if resumed.result == "complete":
                self._hooks.notify(resumed)
                return no_content()
            if resumed.result == "resumed":
                after = cursor.seq
        else:
            head.check_own(generation_id)
            await self._log.read(generation_id, after=0)
        async with self._supervisor.viewer_place(head.principal) as lease:
            if resumed is not None:
                self._hooks.notify(resumed)
            return self.stream(
                request, head, generation_id, after, dialect, lease=lease, instead=instead
            )

    async def _resumed(self, head: RequestHead, generation_id: str, seq: int) -> Resumed:
        """Return what a client gets that has the records of a generation up to *seq*."""
        try:
            head.check_own(generation_id)
            waiting = await self._log.read(generation_id, after=seq)
        except CursorReplaced:  # a page starts over at the `start`
            return Resumed(generation=generation_id, result="replayed")
        except (GenerationNotFound, CursorLost):
            return Resumed(generation=generation_id, result="gone")
        except LogEnded:
            return Resumed(generation=generation_id, result="complete")
        return Resumed(generation=generation_id, result="resumed", replayed=len(waiting))

    def gone(self, head: RequestHead, generation_id: str = "") -> Response:
        """Answer a client whose cursor cannot be resumed: with one `done` that says so.

        Args:
            head: of its request.
            generation_id: of the cursor; "" if it is not one of ours.
        """
        self._hooks.notify(Resumed(generation=generation_id, result="gone"))
        return gone_response(generation_id or new_id(), self._settings, cut_at=head.cut_at)

    def stream(  # noqa: PLR0913  # what a stream needs, most of it passed by name
        self,
        request: Request,
        head: RequestHead,
        generation_id: str,
        after: int,
        dialect: Dialect,
        *,
        lease: Count | None = None,
        instead: DeferredHead | None = None,
    ) -> Response:
        """Return the stream after a record, which takes over the lease of its viewer."""
        return self._streams.stream(
            generation_id,
            after=after,
            dialect=dialect,
            lease=lease,
            headers={"Location": f"{address_of(request, generation_id)}/events"},
            instead=instead,
            cut_at=head.cut_at,
        )


def address_of(request: Request, generation_id: str) -> str:
    """Return the path of a generation as the client sees it."""
    return f"{request.scope.get('root_path', '')}/v1/generations/{generation_id}"
