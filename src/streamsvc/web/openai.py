"""OpenAI's chat completions, backed by the same engine: `POST /v1/chat/completions`, `GET /v1/models`.

These clients cannot resume a stream, so leaving ends it unless they ask for a grace period. The response head
waits for the first token or a failure, because they expect a failure to have a status; it does not wait for
long, because a proxy takes silence for a dead connection.
"""

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Literal

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import override

from streamsvc.config.settings import StreamSettings
from streamsvc.dialects.openai.errors import INTERRUPTED, LOST, error_body, error_of, status_of
from streamsvc.dialects.openai.frames import OpenAIDialect, completion_of
from streamsvc.dialects.openai.request import ChatCompletionParser
from streamsvc.engine.entries import ProviderEntry
from streamsvc.engine.supervisor import Supervisor
from streamsvc.errors import ModelNotFound
from streamsvc.eventlog.base import BEFORE_FIRST
from streamsvc.events import Delta, Done, Event, PublicError, Record
from streamsvc.principals import Principal
from streamsvc.snapshot import Folding
from streamsvc.web import long_json
from streamsvc.web.creation import Creation
from streamsvc.web.problems import Problem
from streamsvc.web.requests import RequestHead
from streamsvc.web.responses import json_response
from streamsvc.web.stream.first_event import DeferredHead
from streamsvc.web.stream.streams import Streams

SDK_HEADERS = (
    "OpenAI-Organization",
    "OpenAI-Project",
    "X-Stainless-Arch",
    "X-Stainless-Helper-Method",
    "X-Stainless-Lang",
    "X-Stainless-OS",
    "X-Stainless-Package-Version",
    "X-Stainless-Retry-Count",
    "X-Stainless-Runtime",
    "X-Stainless-Runtime-Version",
    "X-Stainless-Timeout",
)
"""The headers that openai-node sends; CORS must allow each of them for pages from other origins."""


_FIELDS = {"provider": "model"}
"""This API's names for the engine's fields."""

_FOR_OTHERS = {"drained", "interrupted"}
"""Failures of this process that another one may not have."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model that a request may name (`types/model.py`).

    Attributes:
        id: a provider entry, or `<entry>/<model>`.
        object: the type of this object.
        created: always 0, because it is not known.
        owned_by: the kind of the entry.
    """

    id: str
    object: Literal["model"] = "model"
    created: Literal[0] = 0
    owned_by: str


class Models(msgspec.Struct, frozen=True, kw_only=True):
    """The provider entries that are ready, as models."""

    object: Literal["list"] = "list"
    data: Sequence[Model]


class ChatCompletionEndpoints:
    """OpenAI's HTTP interface to the engine.

    Args:
        supervisor: knows the provider entries, and limits the viewers.
        creation: reads request bodies, and starts generations.
        streams: makes the streaming responses.
        parser: parses request bodies.
        settings: how a stream looks.
    """

    def __init__(
        self,
        *,
        supervisor: Supervisor,
        creation: Creation,
        streams: Streams,
        parser: ChatCompletionParser,
        settings: StreamSettings,
    ) -> None:
        self._supervisor = supervisor
        self._creation = creation
        self._streams = streams
        self._parser = parser
        self._settings = settings

    async def create(self, request: Request, head: RequestHead) -> Response:
        """`POST /v1/chat/completions`: streamed if `stream` is true, else one object."""
        head.check_parameters(frozenset({"key"}))
        asked = self._parser.parse(await self._creation.read(request, head), head.principal)
        dialect = OpenAIDialect(include_usage=asked.include_usage)
        async with self._supervisor.viewer_place(head.principal) as lease:
            generation = await self._creation.start(asked.generation, head, field_names=_FIELDS)
            return self._streams.stream(
                generation,
                after=BEFORE_FIRST,
                dialect=dialect,
                lease=lease,
                instead=_FirstToken(generation, self._settings.head_seconds)
                if asked.stream
                else _Whole(generation),
            )

    async def models(self, _request: Request, head: RequestHead) -> Response:
        """`GET /v1/models`: the provider entries that are ready."""
        ready = self._ready(head.principal)
        entries = [_model(name, entry) for name, entry in ready.items()]
        return json_response(Models(data=entries))

    async def model(self, request: Request, head: RequestHead) -> Response:
        """`GET /v1/models/{id}`: one of them, or a model that a request may name."""
        name = request.path_params["id"]
        if not name:  # the list, with an extra slash
            raise HTTPException(HTTPStatus.NOT_FOUND)
        caller = head.principal
        entry, model = self._parser.model(name, caller)
        ready = self._ready(caller)
        if entry not in ready or not caller.may_use(model or ready[entry].section.model):
            raise ModelNotFound(ready)
        return json_response(_model(name, ready[entry]))

    def _ready(self, caller: Principal) -> dict[str, ProviderEntry]:
        """Return the entries that are ready and that a caller may use."""
        return {
            entry.name: entry
            for entry in self._supervisor.entries.visible(caller)
            if entry.is_ready and caller.may_use(entry.section.model)
        }


def error_response(problem: Problem, headers: Mapping[str, str]) -> Response:
    """Return a refusal as OpenAI's error object; its clients expect 400 where other APIs have 422."""
    status = 400 if problem.status == 422 else problem.status  # noqa: PLR2004
    error = error_body(problem.detail, problem.code, status=status, param=problem.field)
    return json_response(
        error, status=status, headers={**_retry("Retry-After" in headers), **headers}
    )


class _FirstToken(DeferredHead):
    """Waits for the first token, for a limited time: an answer that fails before it gets a status."""

    def __init__(self, generation: str, seconds: float) -> None:
        self._generation = generation
        self.seconds = seconds
        self._taken: list[Record] = []

    @property
    @override
    def begun(self) -> Sequence[Record]:
        return self._taken

    @override
    def is_due(self, event: Event) -> bool:
        return isinstance(event, Delta | Done)

    @override
    def take(self, records: Sequence[Record]) -> None:
        self._taken += records

    @override
    async def answer(self) -> Response | None:
        if self.was_interrupted:
            return _failed(self._generation, INTERRUPTED)
        done = _end_of(self._taken)
        return _failure_of(self._generation, done) if done else None


class _Whole(DeferredHead):
    """Waits for the end: the client does not want a stream."""

    seconds = math.inf

    def __init__(self, generation: str) -> None:
        self._generation = generation
        self._folding = Folding()
        self._done: Done | None = None

    @override
    def is_due(self, event: Event) -> bool:
        return isinstance(event, Done)

    @override
    def take(self, records: Sequence[Record]) -> None:
        self._folding.extend(records)
        self._done = _end_of(records)

    @override
    async def answer(self) -> Response:
        if self._done is None:
            return _failed(self._generation, INTERRUPTED if self.was_interrupted else LOST)
        if failure := _failure_of(self._generation, self._done):
            return failure
        content = await long_json.encode(completion_of(self._folding.snapshot))
        return json_response(content, headers={"X-Generation-Id": self._generation})


def _end_of(records: Sequence[Record]) -> Done | None:
    event = records[-1].event if records else None
    return event if isinstance(event, Done) else None


def _failure_of(generation: str, done: Done) -> Response | None:
    error = error_of(done)
    return _failed(generation, error) if error else None


def _failed(generation: str, error: PublicError) -> Response:
    status = status_of(error)
    # The engine has already retried what is worth retrying, unless another process can do better.
    headers = {"X-Generation-Id": generation, **_retry(error.code in _FOR_OTHERS)}
    return json_response(
        error_body(error.message, error.code, status=status), status=status, headers=headers
    )


def _retry(is_worth_it: bool) -> dict[str, str]:  # noqa: FBT001
    """Return the header that overrides the SDKs' own rule, which is to retry 408, 409, 429 and 5xx twice."""
    return {"X-Should-Retry": "true" if is_worth_it else "false"}


def _model(name: str, entry: ProviderEntry) -> Model:
    return Model(id=name, owned_by=entry.section.kind)
