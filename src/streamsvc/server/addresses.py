"""How many connections one client may have: a limit for each public address.

Private and loopback addresses have none, because proxies have such addresses, and what is near is trusted. An IPv6
client has a /64 to itself (RFC 6177), so that counts as one address.

An address is personal data. The log shows its network, a /24 or a /64, which is enough to block it or to find it in a
firewall's log.
"""

import ipaddress
import logging
from collections import Counter
from collections.abc import Callable
from functools import lru_cache

from streamsvc.log_line import log

logger = logging.getLogger(__name__)

LOG_SECONDS = 60.0
"""How often refusals are logged."""

MAX_LOGGED = 1000
"""How many networks are counted for a line in the log."""

_PREFIX_OF_ONE = 64
_PREFIX_SHOWN = 24


class Lease:
    """A counted connection."""

    __slots__ = ("_client", "_counts")

    def __init__(self, counts: dict[str, int], client: str) -> None:
        counts[client] = counts.get(client, 0) + 1
        self._counts = counts
        self._client: str | None = client

    def end(self) -> None:
        """Stop counting it; may be called more than once."""
        client, self._client = self._client, None
        if client is not None:
            left = self._counts[client] - 1
            if left:
                self._counts[client] = left
            else:
                del self._counts[client]


class AddressLimit:
    """Counts the connections of each public address.

    Args:
        most: the limit; 0 is no limit.
        now: the event loop's clock.
    """

    def __init__(self, most: int, now: Callable[[], float]) -> None:
        self._most = most
        self._now = now
        self._counts: dict[str, int] = {}
        self._refused: Counter[str] = Counter()
        self._logged_at: float | None = None

    def refuses(self, host: str) -> bool:
        """Return whether an address has all the connections that it may have, and count that."""
        client = client_of(host) if self._most else None
        if client is None or self._counts.get(client, 0) < self._most:
            return False
        network = shown(client)
        if network in self._refused or len(self._refused) < MAX_LOGGED:
            self._refused[network] += 1
        return True

    def begin(self, host: str) -> Lease | None:
        """Count a connection until its lease ends; None if its address has no limit."""
        client = client_of(host) if self._most else None
        return None if client is None else Lease(self._counts, client)

    def report(self) -> None:
        """Log the refusals, one line a minute; to be called about once a second."""
        now = self._now()
        if not self._refused or (
            self._logged_at is not None and now - self._logged_at < LOG_SECONDS
        ):
            return
        self._logged_at = now
        [(network, count)] = self._refused.most_common(1)
        others = len(self._refused) - 1
        log(
            logger,
            logging.WARNING,
            "connections.refused",
            network=network,
            count=count,
            further_networks=others,
            setting="limits.max_connections_per_address",
        )
        self._refused.clear()


ANY = AddressLimit(0, lambda: 0.0)
"""No limit."""


@lru_cache(maxsize=1024)
def client_of(host: str) -> str | None:
    """Return what is counted for an address: the address, or the /64 around it; None if it is not public.

    Args:
        host: as `socket.accept` returns it; an IPv6 address may have a zone.
    """
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if not address.is_global:
        return None
    return str(address) if address.version == 4 else _network(str(address), _PREFIX_OF_ONE)  # noqa: PLR2004


def shown(client: str) -> str:
    """Return the network of a client for the log."""
    return client if "/" in client else _network(client, _PREFIX_SHOWN)


def _network(address: str, prefix: int) -> str:
    return str(ipaddress.ip_network(f"{address}/{prefix}", strict=False))
