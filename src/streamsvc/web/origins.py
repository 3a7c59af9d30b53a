"""Which pages may create generations: origins, compared as origins (RFC 6454, sections 4 and 5).

The scheme that the browser used is unknown here, because a proxy may terminate TLS. So a `Host` without a
port, or with the port of HTTP or HTTPS, matches both schemes.
"""

import ipaddress
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from streamsvc.errors import OriginRefused
from streamsvc.web.requests import RequestHead

_DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_CHARS = 300
"""A host has 253 characters at most (RFC 1035, section 2.3.4)."""


class Authority(NamedTuple):
    """A host in canonical form, and a port if there is one."""

    host: str
    port: int | None


class Origin(NamedTuple):
    """An origin in canonical form."""

    scheme: str
    host: str
    port: int | None


@lru_cache(maxsize=256)  # a service has only a few names
def _authority(text: str) -> Authority | None:
    if not (text.isascii() and text.isprintable()) or any(c in text for c in "@/?#\\ "):
        return None
    try:
        parts = urlsplit(f"//{text}")
        host, port = (parts.hostname or "").removesuffix("."), parts.port
    except ValueError:
        return None
    with suppress(ValueError):  # a name
        host = ipaddress.ip_address(host).compressed
    return Authority(host, port) if host else None


def authority_of(text: str) -> Authority | None:
    """Parse `host[:port]`; None if it is invalid (RFC 9110, section 7.2)."""
    return _authority(text) if len(text) <= _MAX_CHARS else None


def origin_of(text: str) -> Origin | None:
    """Parse a serialized origin; None for `null` and for anything that is not an origin."""
    scheme, separator, rest = text.partition("://")
    authority = authority_of(rest)
    if not separator or authority is None:
        return None
    scheme = scheme.lower()
    return Origin(scheme, authority.host, authority.port or _DEFAULT_PORTS.get(scheme))


class Origins:
    """Which pages may create: those of the service's own origin, and those of configured origins.

    A browser sends a page's origin with its requests, and withholds the response from a page that may not read
    it; but by then the provider would have been called, and paid.

    Args:
        allowed: origins; `*` allows any.
    """

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self._is_any = "*" in allowed
        self._allowed = {origin for text in allowed if (origin := origin_of(text)) is not None}

    def allows(self, origin: str) -> bool:
        """Return whether the settings name this origin."""
        return self._is_any or origin_of(origin) in self._allowed

    def check(self, head: RequestHead) -> None:
        """Accept a request that may create.

        Raises:
            OriginRefused: it comes from a page of another origin.
        """
        origin, site = head.origin, head.fetch_site
        if site == "same-origin" or self._is_any:
            return
        # What the browser says is more reliable than a comparison (Fetch Metadata, section 2.3).
        is_elsewhere = site in {"cross-site", "same-site"}
        if origin is None:
            # Not a page, or a request that reads nothing, such as for an image. A link that a person follows
            # is a document.
            if is_elsewhere and head.fetch_dest != "document":
                raise OriginRefused(None)
        elif not self.allows(origin) and (is_elsewhere or not is_own(origin, head.host)):
            raise OriginRefused(shown(origin))


def shown(origin: str) -> str | None:
    """Return an origin for an error message or the log, as a browser writes it; None if it is invalid."""
    parsed = origin_of(origin)
    if parsed is None:
        return "null" if origin == "null" else None
    is_default = parsed.port == _DEFAULT_PORTS.get(parsed.scheme)
    host = f"[{parsed.host}]" if ":" in parsed.host else parsed.host
    return f"{parsed.scheme}://{host}" if is_default else f"{parsed.scheme}://{host}:{parsed.port}"


def is_from(origin: str, head: RequestHead) -> bool:
    """Return whether a page of an origin makes a request.

    A browser leaves out `Origin` where a page asks its own origin with GET (Fetch, section 3.2), and says so in
    `Sec-Fetch-Site`.

    Args:
        origin: a valid origin.
        head: of the request.
    """
    if head.origin is not None:
        return origin_of(head.origin) == origin_of(origin)
    return head.fetch_site == "same-origin" and is_own(origin, head.host)


def is_own(origin: str, host: str) -> bool:
    """Return whether a page has the origin of the service.

    Args:
        origin: of the page.
        host: the `Host` of its request.
    """
    page, served = origin_of(origin), authority_of(host)
    if page is None or served is None or page.host != served.host:
        return False
    defaults = _DEFAULT_PORTS.values()
    is_default = served.port is None or served.port in defaults
    return page.port in defaults if is_default else page.port == served.port
