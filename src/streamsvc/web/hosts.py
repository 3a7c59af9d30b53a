"""The host names that requests may be sent to.

A page can point its own host name at 127.0.0.1 after it has loaded (DNS rebinding). The browser then takes the
service for part of that page's origin, and only the `Host` shows the difference. So a service that listens on a
loopback address accepts only the loopback names and those in the settings.
"""

import ipaddress
from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from streamsvc.config.settings import ServerSettings
from streamsvc.errors import HostRefused
from streamsvc.web.origins import Authority, authority_of
from streamsvc.web.problems import Problems

_NAMES = {"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"}


def is_loopback(host: str) -> bool:
    """Return whether a host in canonical form is a loopback name or address (RFC 6761, section 6.3)."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in _NAMES or host.endswith(".localhost")


class Hosts:
    """The names that the service accepts.

    Args:
        settings: where it listens, and its additional names. `*.` before a name means any name below it,
            `*` alone any name.
    """

    def __init__(self, settings: ServerSettings) -> None:
        listening = settings.host.strip("[]").lower()
        self.is_checked = is_loopback(listening) and "*" not in settings.hosts
        named = {name.strip("[]").lower().removesuffix(".") for name in settings.hosts}
        self._names = frozenset(name for name in named if not name.startswith("*."))
        self._suffixes = tuple(name[1:] for name in named if name.startswith("*."))

    def check(self, host: str) -> None:
        """Accept a request that is meant for this service.

        Args:
            host: the `Host` field, with or without a port. No browser sends an empty one.

        Raises:
            HostRefused: the name is not one of these.
        """
        authority = authority_of(host)
        if host and not (authority and self._is_served(authority)):
            raise HostRefused(authority.host if authority else None)

    def _is_served(self, authority: Authority) -> bool:
        host = authority.host
        return is_loopback(host) or host in self._names or host.endswith(self._suffixes)


class HostGuard:
    """Middleware that refuses requests meant for another host, before anything else handles them."""

    def __init__(self, app: ASGIApp, hosts: Hosts, problems: Problems) -> None:
        self._app = app
        self._hosts = hosts
        self._problems = problems

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Run the application; returns its coroutine, so that a stream does not keep a frame of this method."""
        if scope["type"] == "http":
            try:
                for field, value in scope["headers"]:
                    if field == b"host":
                        self._hosts.check(value.decode("latin-1"))
            except HostRefused as exc:
                return self._problems.refusal(scope, exc)(scope, receive, send)
        return self._app(scope, receive, send)
