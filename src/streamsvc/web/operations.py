"""The endpoints for operators: what is configured, and how the process is."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from streamsvc.engine.supervisor import Supervisor


class OperationEndpoints:
    """Health and configuration; never keys.

    Args:
        supervisor: what is running, and on whom.
        default_provider: the entry that is asked where a client names none.
    """

    def __init__(self, *, supervisor: Supervisor, default_provider: str) -> None:
        self._supervisor = supervisor
        self._default_provider = default_provider

    async def providers(self, _request: Request) -> Response:
        """`GET /v1/providers`: what is configured, and how it is; never keys."""
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
        return _json({"default": self._default_provider, "providers": entries})

    async def healthz(self, _request: Request) -> Response:
        """`GET /healthz`: the process lives."""
        return _json({"status": "ok"})

    async def readyz(self, _request: Request) -> Response:
        """`GET /readyz`: it takes new work; 503 when it is draining."""
        state = {
            "status": "draining" if self._supervisor.is_draining else "ready",
            "generations": self._supervisor.running,
            "viewers": self._supervisor.viewers,
        }
        return _json(state, status=503 if self._supervisor.is_draining else 200)


def _json(value: dict[str, Any], *, status: int = 200) -> Response:
    return Response(
        msgspec.json.encode(value),
        status_code=status,
        headers={"Cache-Control": "no-store"},
        media_type="application/json",
    )
