"""The connections that the HTTP clients of providers hold, whatever their transport."""

from collections.abc import Mapping
from typing import Any

from service import Service


def pools(service: Service) -> Mapping[str, tuple[int, int]]:
    """Count the connections of each entry that has been used: in use, and at rest."""
    providers: Any = service.supervisor.lanes._providers
    return {name: _connections(provider) for name, provider in providers._open.items()}


def _connections(provider: Any) -> tuple[int, int]:
    if hasattr(provider, "channel"):
        in_use, at_rest = provider.channel.connections
        return in_use, at_rest
    connections = provider._client._api_client._async_httpx_client._transport._pool.connections
    idle = sum(connection.is_idle() for connection in connections)
    return len(connections) - idle, idle
