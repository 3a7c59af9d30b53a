"""The endpoints for operators: configuration and health."""

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from streamsvc.engine.circuit import State
from streamsvc.engine.supervisor import Supervisor
from streamsvc.web.requests import RequestHead
from streamsvc.web.responses import json_response


class ProviderState(msgspec.Struct, frozen=True, kw_only=True):
    """A configured provider entry, and what it does.

    Attributes:
        name: what a request calls it.
        kind: `fake`, `openai` or `gemini`.
        model: the model that it asks for.
        ready: whether its key is set.
        fallbacks: the entries that are asked if it fails, in order.
        circuit: `open`: it keeps failing and is skipped; `probing`: one call finds out whether it works again.
        generations: how many are running.
    """

    name: str
    kind: str
    model: str
    ready: bool
    fallbacks: Sequence[str]
    circuit: State
    generations: int


class ProviderStates(msgspec.Struct, frozen=True, kw_only=True):
    """The configured provider entries that the caller may name.

    Attributes:
        default: the entry for requests that name none; null if the caller may use none.
        providers: all that the caller may name.
    """

    default: str | None
    providers: Sequence[ProviderState]


class Health(msgspec.Struct, frozen=True):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the process accepts new work.

    Attributes:
        status: `draining`: it is shutting down; `unavailable`: the shared store cannot be used.
        generations: how many are running.
        viewers: how many are connected.
        reasons: what is wrong with the shared store, as codes.
    """

    status: Literal["ready", "draining", "unavailable"]
    generations: int
    viewers: int
    reasons: Sequence[str] | msgspec.UnsetType = msgspec.UNSET


class OperationEndpoints:
    """Health and configuration; never keys.

    Args:
        supervisor: knows the entries and what is running on them.
        default_provider: the entry for requests that name none.
        troubles: returns what is wrong with the shared store, as codes.
        is_refusing: returns whether new work is refused because of that.
    """

    def __init__(
        self,
        *,
        supervisor: Supervisor,
        default_provider: str,
        troubles: Callable[[], Sequence[str]],
        is_refusing: Callable[[], bool],
    ) -> None:
        self._supervisor = supervisor
        self._default_provider = default_provider
        self._troubles = troubles
        self._is_refusing = is_refusing

    async def providers(self, _request: Request, head: RequestHead) -> Response:
        """`GET /v1/providers`: the entries that the caller may name, and their state; never keys."""
        caller = head.principal
        entries = [
            ProviderState(
                name=entry.name,
                kind=entry.section.kind,
                model=entry.section.model,
                ready=entry.is_ready,
                fallbacks=caller.visible(entry.section.fallbacks),
                circuit=entry.circuit.state,
                generations=entry.running,
            )
            for entry in self._supervisor.entries.visible(caller)
        ]
        usual = caller.entry(self._default_provider, {it.name: it.model for it in entries})
        default = next(iter(caller.visible([usual])), None)
        return json_response(ProviderStates(default=default, providers=entries))

    async def healthz(self, _request: Request, _head: RequestHead) -> Response:
        """`GET /healthz`: the process is alive."""
        return json_response(Health())

    async def readyz(self, _request: Request, _head: RequestHead) -> Response:
        """`GET /readyz`: whether new work is accepted; 503 while draining, and while the shared store prevents it."""
        status: Literal["ready", "draining", "unavailable"] = "ready"
        if self._supervisor.is_draining:
            status = "draining"
        elif self._is_refusing():
            status = "unavailable"
        state = Readiness(
            status=status,
            generations=self._supervisor.running,
            viewers=self._supervisor.viewers,
            reasons=self._troubles() or msgspec.UNSET,
        )
        return json_response(state, status=200 if status == "ready" else 503)
