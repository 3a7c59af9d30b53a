"""The connections that the providers' HTTP clients hold, for both kinds of clients."""

from collections.abc import Mapping
from typing import Any

from streamsvc.providers.http.endpoint import Endpoint
from streamsvc.providers.http.transport import Transport
from support.service import Service


def pools(service: Service) -> Mapping[str, tuple[int, int]]:
    """Return the number of connections of each open entry: in use, and idle."""
    providers: Any = service.supervisor.entries._providers
    return {name: _connections(provider) for name, provider in providers._open.items()}


def close_kept(service: Service) -> None:
    """Close the idle connections, so that each further call opens a new one."""
    providers: Any = service.supervisor.entries._providers
    for provider in providers._open.values():
        if (held := _holder(provider)) is not None:
            for connection in list(held._pool._idle):
                connection.abort()


def _connections(provider: Any) -> tuple[int, int]:
    held = _holder(provider)
    return held.connections if held else (0, 0)


def _holder(provider: Any) -> Endpoint | Transport | None:
    if hasattr(provider, "endpoint"):
        endpoint: Endpoint = provider.endpoint
        return endpoint
    if hasattr(provider, "_client"):
        transport: Transport = provider._client._api_client._async_httpx_client._transport
        return transport
    return None
