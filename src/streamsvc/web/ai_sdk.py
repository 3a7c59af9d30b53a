"""The AI SDK's UI message stream, backed by the same engine: what an unmodified `useChat` needs.

`POST /api/chat` answers, `GET /api/chat/{id}/stream` resumes with a replay from the start, and `POST
/api/chat/{id}/stop` stops the generation: the hook's `stop()` only closes the connection, which looks like a lost
network. A refusal is a sentence in plain text, because the hook shows the body of an error as it is.
"""

from collections.abc import Mapping
from contextlib import suppress
from functools import partial

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from streamsvc.dialects.ai_sdk.context import Context
from streamsvc.dialects.ai_sdk.frames import AISDKDialect
from streamsvc.dialects.ai_sdk.request import UIMessageParser
from streamsvc.dialects.base import Dialect
from streamsvc.dialects.invalid import MAX_QUOTED_CHARS
from streamsvc.dialects.plain.frames import PlainDialect
from streamsvc.engine.audience import Count
from streamsvc.engine.directory.base import ChatAnswer, Directory
from streamsvc.engine.ids import scoped
from streamsvc.engine.supervisor import Supervisor
from streamsvc.errors import CursorLost, GenerationNotFound
from streamsvc.eventlog.base import BEFORE_FIRST, EventLog, stored_batches
from streamsvc.events import Restart
from streamsvc.hooks import Hooks, Resumed, ResumeResult
from streamsvc.web.creation import Creation
from streamsvc.web.negotiation import format_of
from streamsvc.web.problems import Problem
from streamsvc.web.requests import RequestHead
from streamsvc.web.responses import NO_STORE, no_content
from streamsvc.web.stream.streams import Streams
from streamsvc.web.stream.whole import head_response


class UIMessageEndpoints:
    """The HTTP interface that `useChat` expects.

    Args:
        supervisor: stops generations, and limits their viewers.
        log: their records.
        creation: reads request bodies, starts generations, and checks which pages may start and stop them.
        streams: makes the streaming responses.
        parser: parses request bodies.
        directory: knows the latest answer of each chat.
        hooks: get a report of each client that resumes.
    """

    def __init__(  # noqa: PLR0913  # what it needs, passed by name
        self,
        *,
        supervisor: Supervisor,
        log: EventLog,
        creation: Creation,
        streams: Streams,
        parser: UIMessageParser,
        directory: Directory,
        hooks: Hooks,
    ) -> None:
        self._hooks = hooks
        self._supervisor = supervisor
        self._log = log
        self._creation = creation
        self._streams = streams
        self._parser = parser
        self._formats: Mapping[str, PlainDialect | None] = {"ui": None, "plain": PlainDialect()}
        self._directory = directory

    async def create(self, request: Request, head: RequestHead) -> Response:
        """`POST /api/chat`: answer; an answer that is still running in that chat is stopped."""
        plain = self._plain(head)
        # The AI SDK's text transport cannot distinguish a message from its replay.
        may_come_back = plain is None
        body = await self._creation.read(request, head)
        asked = self._parser.parse(body, head.principal, may_come_back=may_come_back)
        dialect = plain or AISDKDialect(asked.context)
        async with self._supervisor.viewer_place(head.principal) as lease:
            generation = await self._creation.start(asked.generation, head)
            answer = ChatAnswer(
                generation=generation,
                grace_seconds=asked.generation.grace_seconds or 0.0,
                context=msgspec.msgpack.encode(asked.context),
            )
            chat = scoped(head.principal.name, asked.chat)
            before = await self._directory.put_answer(chat, answer)
            if before is not None and before != generation:
                await self._end(before)  # the page shows one answer at a time
            return await self._stream(chat, answer, dialect, lease)

    async def resume(self, request: Request, head: RequestHead) -> Response:
        """`GET /api/chat/{id}/stream`: the latest answer from its start; 204 if there is none."""
        if request.method == "HEAD":
            return head_response()
        head.refuse_prefetch()
        chat = scoped(head.principal.name, request.path_params["id"])
        answer = await self._directory.answer(chat)
        if answer is None:
            return no_content()
        try:
            dialect: Dialect | None = self._plain(head)
            if dialect is None:
                context = msgspec.msgpack.decode(answer.context, type=Context)
                dialect = AISDKDialect(context, is_replay=True)
            async with self._supervisor.viewer_place(head.principal) as lease:
                return await self._stream(chat, answer, dialect, lease, is_replay=True)
        except GenerationNotFound:
            if answer.was_sent:
                self._note(answer, "complete")
                return no_content()
            self._note(answer, "gone")
            return PlainTextResponse(CursorLost.message, status_code=410, headers=NO_STORE)

    async def stop(self, request: Request, head: RequestHead) -> Response:
        """`POST /api/chat/{id}/stop`: end the answer, and the call to the provider; idempotent."""
        self._creation.check_origin(head)
        chat = scoped(head.principal.name, request.path_params["id"])
        if generation := await self._directory.drop_answer(chat):
            await self._end(generation)
        return no_content()

    async def _end(self, generation: str) -> None:
        with suppress(GenerationNotFound):
            await self._supervisor.stop(generation)

    def _note(self, answer: ChatAnswer, result: ResumeResult, replayed: int = 0) -> None:
        self._hooks.notify(Resumed(generation=answer.generation, result=result, replayed=replayed))

    async def _stream(
        self,
        chat: str,
        answer: ChatAnswer,
        dialect: Dialect,
        lease: Count | None,
        *,
        is_replay: bool = False,
    ) -> Response:
        generation = answer.generation
        after, count = await self._last_restart(generation)
        if is_replay:
            self._note(answer, "replayed", count)
        return self._streams.stream(
            generation,
            after=after,
            dialect=dialect,
            lease=lease,
            on_done=partial(self._directory.mark_sent, chat, answer),
        )

    async def _last_restart(self, generation: str) -> tuple[int, int]:
        """Return the cursor for a replay, and how many stored records follow it: text that a `Restart` discarded is not sent again.

        Raises:
            GenerationNotFound: it is no longer kept.
        """
        after, count = BEFORE_FIRST, 0
        async for records in stored_batches(self._log, generation):
            count += len(records)
            for at, it in enumerate(records, start=1):
                if isinstance(it.event, Restart):
                    after, count = it.seq, len(records) - at
        return after, count

    def _plain(self, head: RequestHead) -> PlainDialect | None:
        """Return the dialect of plain text, or None if the client reads UI messages."""
        return format_of(head, self._formats, usual="ui")


def refusal_text(problem: Problem, headers: Mapping[str, str]) -> Response:
    """Return a refusal as one sentence: the hook shows the body of an error as it is."""
    field = (problem.field or "")[:MAX_QUOTED_CHARS]
    about = "" if field in problem.detail else f" ({field})"
    return PlainTextResponse(
        f"{problem.detail}{about}", status_code=problem.status, headers={**NO_STORE, **headers}
    )
