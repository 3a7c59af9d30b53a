"""The connections that the providers' HTTP clients hold, for both kinds of clients."""

from collections.abc import Iterator, Mapping
from typing import Any

from streamsvc.providers.http.endpoint import Endpoint
from streamsvc.providers.http.transport import Transport
from support.service import Service


def pools(service: Service) -> Mapping[str, tuple[int, int]]:
    """Return the number of connections of each open entry: in use, and idle."""
    return {name: _connections(provider) for name, provider in _open(service)}


def close_kept(service: Service) -> None:
    """Close the idle connections, so that each further call opens a new one."""
    for _, provider in _open(service):
        if (held := _holder(provider)) is not None:
            for connection in list(held._pool._idle):
                connection.abort()


def _open(service: Service) -> Iterator[tuple[str, Any]]:
    """Yield the name and the provider of each entry that is open."""
    for entry in service.supervisor.entries:
        if entry.client.is_open:
            yield entry.name, entry.client._provider


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
