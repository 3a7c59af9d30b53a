"""The endpoints for operators: what is configured, and how the process is."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from streamsvc.config import KINDS
from streamsvc.engine.supervisor import Supervisor
from streamsvc.providers.registry import ProviderRegistry


class OperationEndpoints:
    """Health and configuration; never keys.

    Args:
        supervisor: what is running.
        providers: what is configured.
        default_provider: the entry that is asked where a client names none.
    """

    def __init__(
        self, *, supervisor: Supervisor, providers: ProviderRegistry, default_provider: str
    ) -> None:
        self._supervisor = supervisor
        self._providers = providers
        self._default_provider = default_provider

    async def providers(self, _request: Request) -> Response:
        """`GET /v1/providers`: names, kinds, models, and whether the key is there."""
        kinds = {section: kind for kind, section in KINDS.items()}
        entries = [
            {
                "name": name,
                "kind": kinds[type(entry)],
                "model": entry.model,
                "ready": self._providers.is_ready(name),
            }
            for name, entry in self._providers.entries.items()
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
