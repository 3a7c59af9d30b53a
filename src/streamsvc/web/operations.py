"""The endpoints for operators: configuration and health."""

from starlette.requests import Request
from starlette.responses import Response

from streamsvc.engine.supervisor import Supervisor
from streamsvc.web.responses import json_response


class OperationEndpoints:
    """Health and configuration; never keys.

    Args:
        supervisor: knows the entries and what is running on them.
        default_provider: the entry for requests that name none.
    """

    def __init__(self, *, supervisor: Supervisor, default_provider: str) -> None:
        self._supervisor = supervisor
        self._default_provider = default_provider

    async def providers(self, _request: Request) -> Response:
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
            for entry in self._supervisor.entries
        ]
        return json_response({"default": self._default_provider, "providers": entries})

    async def healthz(self, _request: Request) -> Response:
        """`GET /healthz`: the process is alive."""
        return json_response({"status": "ok"})

    async def readyz(self, _request: Request) -> Response:
        """`GET /readyz`: whether new work is accepted; 503 while draining."""
        state = {
            "status": "draining" if self._supervisor.is_draining else "ready",
            "generations": self._supervisor.running,
            "viewers": self._supervisor.viewers,
        }
        return json_response(state, status=503 if self._supervisor.is_draining else 200)
