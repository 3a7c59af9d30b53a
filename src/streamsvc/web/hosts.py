"""The hosts that requests may be sent to.

A page can point its own host name at this machine after it has loaded (DNS rebinding). The browser then takes the
service for part of that page's origin, and only the `Host` shows the difference. So names are served only if they
are loopback names or in the settings.

An attack needs a name: the `Host` of a page that was opened by address is that address. So a service that other
machines can reach also serves every IP address, because load balancers and the kubelet probe it by address.
"""

import ipaddress
import logging
from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from streamsvc.config.addresses import is_address, is_loopback
from streamsvc.config.settings import ServerSettings
from streamsvc.errors import HostRefused
from streamsvc.log_line import log
from streamsvc.web.origins import Authority, authority_of
from streamsvc.web.problems import Problems

logger = logging.getLogger(__name__)


class Hosts:
    """The hosts that the service accepts.

    Args:
        settings: where it listens, which is served, too, and its additional names. `*.` before a name means any
            name below it, `*` alone any name.

    Attributes:
        is_checked: whether any host is refused.
        has_only_addresses: whether other machines can reach the service, but by no name.
    """

    def __init__(self, settings: ServerSettings) -> None:
        listening = _canonical(settings.host)
        named = {_canonical(name) for name in (settings.host, *settings.hosts)}
        self.is_checked = "*" not in settings.hosts
        self._serves_addresses = not is_loopback(listening)
        self._names = frozenset(name for name in named if not name.startswith("*."))
        self._suffixes = tuple(name[1:] for name in named if name.startswith("*."))
        self.has_only_addresses = (
            self.is_checked
            and self._serves_addresses
            and all(map(is_address, self._names))
            and not self._suffixes
        )

    def announce(self) -> None:
        """Log that only addresses are served, if that is so."""
        if self.has_only_addresses:
            note = "no name is served; add yours to server.hosts"
            log(logger, logging.INFO, "hosts.addresses_only", note)

    def check(self, host: str) -> None:
        """Accept a request that is meant for this service.

        Args:
            host: the `Host` field, with or without a port. No browser sends an empty one.

        Raises:
            HostRefused: the host is not one of these.
        """
        authority = authority_of(host)
        if host and not (authority and self._is_served(authority)):
            raise HostRefused(authority.host if authority else None)

    def _is_served(self, authority: Authority) -> bool:
        host = authority.host
        return (
            is_loopback(host)
            or host in self._names
            or host.endswith(self._suffixes)
            or (self._serves_addresses and is_address(host))
        )


def _canonical(host: str) -> str:
    """Return a host of the settings as `Authority` has it; also one with `*.` before it."""
    host = host.strip("[]").lower().removesuffix(".")
    return ipaddress.ip_address(host).compressed if is_address(host) else host


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
