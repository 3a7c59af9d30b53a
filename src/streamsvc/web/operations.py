"""The endpoints for operators: configuration and health."""

from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.responses import Response

from streamsvc.engine.supervisor import Supervisor
from streamsvc.web.requests import RequestHead
from streamsvc.web.responses import json_response


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
        """`GET /v1/providers`: the configured entries and their state; never keys."""
        entries = [
            {
                "name": entry.name,
                "kind": entry.section.kind,
                "model": entry.section.model,
                "ready": entry.is_ready,
                "fallbacks": entry.section.fallbacks,
                "circuit": entry.circuit.state,
                "generations": entry.running,
            }
            for entry in self._supervisor.entries.visible(head.principal)
        ]
        return json_response({"default": self._default_provider, "providers": entries})

    async def healthz(self, _request: Request, _head: RequestHead) -> Response:
        """`GET /healthz`: the process is alive."""
        return json_response({"status": "ok"})

    async def readyz(self, _request: Request, _head: RequestHead) -> Response:
        """`GET /readyz`: whether new work is accepted; 503 while draining, and while the shared store prevents it."""
        status = "ready"
        if self._supervisor.is_draining:
            status = "draining"
        elif self._is_refusing():
            status = "unavailable"
        state: dict[str, object] = {
            "status": status,
            "generations": self._supervisor.running,
            "viewers": self._supervisor.viewers,
        }
        if reasons := self._troubles():
            state["reasons"] = reasons
        return json_response(state, status=200 if status == "ready" else 503)
