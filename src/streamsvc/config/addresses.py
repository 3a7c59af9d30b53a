"""What the text of a host says about it, without a look-up."""

import ipaddress
from functools import lru_cache

_LOOPBACK_NAMES = {"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"}


@lru_cache(maxsize=256)  # asked for each request; clients use few hosts
def is_loopback(host: str) -> bool:
    """Return whether a host in canonical form is a loopback name or address (RFC 6761, section 6.3)."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in _LOOPBACK_NAMES or host.endswith(".localhost")


@lru_cache(maxsize=256)
def is_address(host: str) -> bool:
    """Return whether a host is an IP address and not a name; an IPv6 address has no brackets here."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def url_for_this_machine(host: str, port: int) -> str:
    """Return the URL of a service that listens on a host and a port, for a client on the same machine."""
    if host in {"0.0.0.0", "::"}:  # noqa: S104  # addresses to listen on, not to connect to
        host = "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
