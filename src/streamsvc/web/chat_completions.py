"""OpenAI's chat completions over the same engine: `POST /v1/chat/completions`, `GET /v1/models`.

Clients of this kind cannot come back to a stream, so leaving ends it, unless they ask for a grace. The
head of an answer waits for the first token or a failure, because a failure with a status is one they
understand; not for long, because a proxy takes silence for a dead connection.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from streamsvc.config import KINDS
from streamsvc.dialects.openai import STOPPED, OpenAIDialect, completion_of, error_object
from streamsvc.engine.lanes import Lane
from streamsvc.engine.supervisor import Supervisor
from streamsvc.errors import InvalidField, Overloaded, RequestError
from streamsvc.eventlog.base import BEFORE_FIRST, EventLog, live_records
from streamsvc.events import Done, PublicError, Reasoning, Status, Text
from streamsvc.settings import StreamSettings
from streamsvc.snapshot import snapshot_of
from streamsvc.web.chat_completion_body import ChatCompletionReader
from streamsvc.web.requests import Origins, key_of
from streamsvc.web.sse import EventStream, follow

STATUSES: Mapping[str, int] = {
    "content_filter": 400,
    "context_length_exceeded": 400,
    "provider_refused": 400,
    "provider_rate_limited": 429,
    "provider_unavailable": 503,
    "drained": 503,
    "provider_timeout": 504,
}
"""By the code of a failure before the first token; 502 for all others."""


class ChatCompletionEndpoints:
    """OpenAI's HTTP interface over the engine.

    Args:
        supervisor: starts generations.
        log: what they say.
        bodies: reads what clients ask.
        origins: whose pages may create.
        settings: how a stream looks.
    """

    def __init__(
        self,
        *,
        supervisor: Supervisor,
        log: EventLog,
        bodies: ChatCompletionReader,
        origins: Origins,
        settings: StreamSettings,
    ) -> None:
        self._supervisor = supervisor
        self._log = log
        self._bodies = bodies
        self._origins = origins
        self._settings = settings

    async def create(self, request: Request) -> Response:
        """`POST /v1/chat/completions`: streamed where `stream` says so, else in one piece."""
        try:
            self._origins.check(request)
            asked = await self._bodies.read(request)
            self._supervisor.check_viewers()
            generation = await self._supervisor.create(asked.order, key=key_of(request))
        except RequestError as exc:
            return _refusal(exc)
        dialect = OpenAIDialect(include_usage=asked.include_usage)
        return EventStream(
            follow(
                self._log, generation, after=BEFORE_FIRST, dialect=dialect, settings=self._settings
            ),
            dialect=dialect,
            viewer=lambda: self._supervisor.viewer(generation),
            settings=self._settings,
            headers={"X-Generation-Id": generation},
            instead=partial(self._failure if asked.stream else self._whole, generation),
        )

    async def models(self, _request: Request) -> Response:
        """`GET /v1/models`: the provider entries."""
        lanes = [_model(lane) for lane in self._supervisor.lanes if lane.is_ready]
        return _json({"object": "list", "data": lanes})

    async def model(self, request: Request) -> Response:
        """`GET /v1/models/{id}`: one of them."""
        for lane in self._supervisor.lanes:
            if lane.is_ready and lane.name == request.path_params["id"]:
                return _json(_model(lane))
        return _refusal(InvalidField("There is no such model.", field="provider"))

    async def _failure(self, generation: str) -> Response | None:
        """Wait for the first token, but not for long; return how the answer failed before it."""
        with anyio.move_on_after(self._settings.head_seconds):
            async for record in live_records(self._log, generation):
                match record.event:
                    case Text() | Reasoning():
                        return None
                    case Done() as done:
                        return _failure_of(generation, done)
                    case _:
                        pass
        return None

    async def _whole(self, generation: str) -> Response:
        records = [record async for record in live_records(self._log, generation)]
        done = records[-1].event
        if isinstance(done, Done) and (failure := _failure_of(generation, done)):
            return failure
        return _json(completion_of(snapshot_of(records)), headers={"X-Generation-Id": generation})


def _failure_of(generation: str, done: Done) -> Response | None:
    if done.status in {Status.COMPLETED, Status.INCOMPLETE}:
        return None
    error = done.error or STOPPED
    headers = {
        "X-Generation-Id": generation,
        # Its SDKs repeat 408, 409, 429 and 5xx by themselves, unless they are told.
        "X-Should-Retry": "true" if error.retryable else "false",
    }
    status = STATUSES.get(error.code, 502)
    kind = "invalid_request_error" if status == 400 else "server_error"  # noqa: PLR2004
    return _json(error_object(error, kind=kind), status=status, headers=headers)


def _refusal(exc: RequestError) -> Response:
    """Answer what is wrong with a request; its clients know 400 where others have 422."""
    status = 400 if exc.status == 422 else exc.status  # noqa: PLR2004
    code, field = exc.code, exc.field
    if field == "provider":  # the name of an entry comes as the model
        status, code, field = 404, "model_not_found", "model"
    error = PublicError(code, exc.message, retryable=isinstance(exc, Overloaded))
    kind = "server_error" if status >= 500 else "invalid_request_error"  # noqa: PLR2004
    headers = {"Retry-After": str(exc.retry_after_seconds)} if isinstance(exc, Overloaded) else {}
    return _json(error_object(error, kind=kind, param=field), status=status, headers=headers)


def _model(lane: Lane) -> dict[str, Any]:
    kinds = {section: kind for kind, section in KINDS.items()}
    kind = kinds[type(lane.section)]
    return {"id": lane.name, "object": "model", "created": 0, "owned_by": kind}


def _json(
    value: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(
        msgspec.json.encode(value),
        status_code=status,
        headers={"Cache-Control": "no-store", **(headers or {})},
        media_type="application/json",
    )
