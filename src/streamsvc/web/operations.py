"""The endpoints for operators: configuration and health."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from streamsvc.config.provider_settings import FakeSettings, FaultName, ProviderSettings
from streamsvc.engine.circuit import State
from streamsvc.engine.supervisor import Supervisor
from streamsvc.hooks import StoreReason
from streamsvc.providers.registry import Lack
from streamsvc.web.requests import RequestHead
from streamsvc.web.responses import json_response


class ProviderState(msgspec.Struct, frozen=True, kw_only=True):
    """A configured provider entry, and what it does.

    Attributes:
        name: what a request calls it.
        kind: `fake`, `openai` or `gemini`.
        model: the model that it asks for.
        ready: whether its key is set and its SDK is installed.
        lacks: why it is not ready: `key` is not set, or `sdk` is not installed; null if it is ready.
        fallbacks: the entries that are asked if it fails, in order.
        circuit: `open`: it keeps failing and is skipped; `probing`: one call finds out whether it works again.
        generations: how many are running.
        faults: the names that a request may use as its `fault`; missing if it may not choose one.
    """

    name: str
    kind: str
    model: str
    ready: bool
    lacks: Lack | None
    fallbacks: Sequence[str]
    circuit: State
    generations: int
    faults: Sequence[FaultName] | msgspec.UnsetType = msgspec.UNSET


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


class ReadinessReason(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that an operator should know, with what is known about it.

    Attributes:
        code: `draining`, `circuit_open`, `store_slow`, or why the shared store cannot be used, such as `store_full`.
        provider: the entry whose circuit is open.
        generations: how many are left to drain.
        seconds: of `draining`: how long they may go on; of `circuit_open`: until the entry is tried again; of the store:
            for how long it cannot be used.
        ms: how long the latest slow command to the store took.
    """

    code: str
    provider: str | None = None
    generations: int | None = None
    seconds: float | None = None
    ms: int | None = None


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the process accepts new work.

    Attributes:
        status: `draining`: it is shutting down; `unavailable`: the shared store cannot be used.
            A provider that fails is only a reason: it fails for all processes alike, and a load balancer that took
            all of them away would cut resumes, too.
        generations: how many are running.
        viewers: how many are connected.
        reasons: what is not as it should be, as codes; a process with reasons may be ready.
        details: the same, with what is known about each.
    """

    status: Literal["ready", "draining", "unavailable"]
    generations: int
    viewers: int
    reasons: Sequence[str] | msgspec.UnsetType = msgspec.UNSET
    details: Sequence[ReadinessReason] | msgspec.UnsetType = msgspec.UNSET


def _faults(section: ProviderSettings) -> Sequence[FaultName] | msgspec.UnsetType:
    """Return the faults that a request may choose."""
    if isinstance(section, FakeSettings) and section.allow_faults:
        return get_args(FaultName)
    return msgspec.UNSET


class OperationEndpoints:
    """Health and configuration; never keys.

    Args:
        supervisor: knows the entries and what is running on them.
        default_provider: the entry for requests that name none.
        troubles: returns what is wrong with the shared store.
        is_refusing: returns whether new work is refused because of that.
    """

    def __init__(
        self,
        *,
        supervisor: Supervisor,
        default_provider: str,
        troubles: Callable[[], Sequence[StoreReason]],
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
                lacks=entry.lacks,
                fallbacks=caller.visible(entry.section.fallbacks),
                circuit=entry.circuit.state,
                generations=entry.running,
                faults=_faults(entry.section),
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
        """`GET /readyz`: whether new work is accepted, and why not; 503 if not."""
        supervisor = self._supervisor
        status: Literal["ready", "draining", "unavailable"] = "ready"
        if supervisor.is_draining:
            status = "draining"
        elif self._is_refusing():
            status = "unavailable"
        details = [*self._details()]
        state = Readiness(
            status=status,
            generations=supervisor.running,
            viewers=supervisor.viewers,
            reasons=[it.code for it in details] or msgspec.UNSET,
            details=details or msgspec.UNSET,
        )
        return json_response(state, status=200 if status == "ready" else 503)

    def _details(self) -> Iterator[ReadinessReason]:
        supervisor = self._supervisor
        if supervisor.is_draining:
            left = round(supervisor.drain_seconds_left, 1)
            yield ReadinessReason(code="draining", generations=supervisor.running, seconds=left)
        for trouble in self._troubles():
            seconds = None if trouble.seconds is None else round(trouble.seconds, 1)
            yield ReadinessReason(code=trouble.code, seconds=seconds, ms=trouble.ms)
        for entry in supervisor.entries:
            if entry.circuit.state is State.OPEN:
                seconds = round(entry.circuit.skipped_seconds, 1)
                yield ReadinessReason(code="circuit_open", provider=entry.name, seconds=seconds)
