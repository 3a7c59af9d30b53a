"""The AI SDK's UI message stream over the same engine: what an unmodified `useChat` needs.

`POST /api/chat` answers, `GET /api/chat/{id}/stream` resumes by a replay from the start, and
`POST /api/chat/{id}/stop` stops for real: `stop()` of the hook only hangs up, as a lost network does.
A refusal is a sentence in plain text, because the hook shows the body of an error as it is.
"""

from collections.abc import AsyncIterator
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from streamsvc.dialects.ai_sdk import AISDKDialect
from streamsvc.dialects.base import Dialect
from streamsvc.dialects.plain import PlainDialect
from streamsvc.engine.supervisor import Supervisor
from streamsvc.errors import GenerationNotFound, Overloaded, RequestError
from streamsvc.eventlog.base import BEFORE_FIRST, EventLog
from streamsvc.settings import StreamSettings
from streamsvc.web.requests import Origins, key_of, prefers
from streamsvc.web.sse import EventStream, follow
from streamsvc.web.ui_message_body import UIMessageReader

NO_STORE = {"Cache-Control": "no-store"}


class Chats:
    """Which generation answers in which chat: the latest, until it has been delivered to its end.

    Args:
        bound: how many are remembered; the oldest are forgotten.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._generations: dict[str, str] = {}

    def put(self, chat: str, generation: str) -> None:
        """Remember the answer that is being made."""
        self._generations.pop(chat, None)
        self._generations[chat] = generation
        if len(self._generations) > self._bound:
            del self._generations[next(iter(self._generations))]

    def get(self, chat: str) -> str | None:
        """Return the answer that there is to follow."""
        return self._generations.get(chat)

    def delivered(self, chat: str, generation: str) -> None:
        """Forget an answer that a viewer has had to its end."""
        if self._generations.get(chat) == generation:
            del self._generations[chat]


class UIMessageEndpoints:
    """The HTTP interface that `useChat` expects.

    Args:
        supervisor: starts and stops generations.
        log: what they say.
        bodies: reads what clients ask.
        origins: whose pages may create.
        chats: which answer is whose.
        settings: how a stream looks.
    """

    def __init__(
        self,
        *,
        supervisor: Supervisor,
        log: EventLog,
        bodies: UIMessageReader,
        origins: Origins,
        chats: Chats,
        settings: StreamSettings,
    ) -> None:
        self._supervisor = supervisor
        self._log = log
        self._bodies = bodies
        self._origins = origins
        self._chats = chats
        self._settings = settings
        self._dialect: Dialect = AISDKDialect()
        self._plain: Dialect = PlainDialect()

    async def create(self, request: Request) -> Response:
        """`POST /api/chat`: answer; as plain text where that is asked for."""
        try:
            self._origins.check(request)
            chat, order = await self._bodies.read(request)
            self._supervisor.check_viewers()
            before = self._chats.get(chat)
            generation = await self._supervisor.create(order, key=key_of(request))
        except RequestError as exc:
            return _refusal(exc)
        self._chats.put(chat, generation)
        if before is not None and before != generation:
            await self._end(before)  # the page shows one answer at a time
        is_plain = prefers(request, "text/plain", "text/event-stream")
        return self._stream(chat, generation, self._plain if is_plain else self._dialect)

    async def resume(self, request: Request) -> Response:
        """`GET /api/chat/{id}/stream`: the answer from its start; 204 where there is none to come."""
        chat = request.path_params["id"]
        generation = self._chats.get(chat)
        try:
            self._supervisor.check_viewers()
            if generation is not None:
                await self._log.read(generation, after=BEFORE_FIRST)
                return self._stream(chat, generation, self._dialect)
        except GenerationNotFound:
            pass
        except RequestError as exc:
            return _refusal(exc)
        return Response(status_code=204, headers=NO_STORE)

    async def stop(self, request: Request) -> Response:
        """`POST /api/chat/{id}/stop`: end the answer, and the call to the provider; idempotent."""
        if generation := self._chats.get(request.path_params["id"]):
            await self._end(generation)
        return Response(status_code=204, headers=NO_STORE)

    async def _end(self, generation: str) -> None:
        with suppress(GenerationNotFound):
            await self._supervisor.stop(generation)

    def _stream(self, chat: str, generation: str, dialect: Dialect) -> Response:
        blocks = follow(
            self._log, generation, after=BEFORE_FIRST, dialect=dialect, settings=self._settings
        )
        return EventStream(
            self._to_the_end(blocks, chat, generation),
            dialect=dialect,
            viewer=lambda: self._supervisor.viewer(generation),
            settings=self._settings,
            headers={"X-Generation-Id": generation},
        )

    async def _to_the_end(
        self, blocks: AsyncIterator[bytes], chat: str, generation: str
    ) -> AsyncIterator[bytes]:
        async for block in blocks:
            yield block
        self._chats.delivered(chat, generation)


def _refusal(exc: RequestError) -> Response:
    headers = {"Retry-After": str(exc.retry_after_seconds)} if isinstance(exc, Overloaded) else {}
    about = f" ({exc.field})" if exc.field else ""
    return PlainTextResponse(
        f"{exc.message}{about}", status_code=exc.status, headers={**NO_STORE, **headers}
    )
