"""Who may look at the whole service: figures of all providers and callers (`metrics.access` in the settings)."""

import hmac
import ipaddress
import re
from collections.abc import Mapping
from typing import Literal

import msgspec
from starlette.types import Scope

from streamsvc.config.addresses import is_loopback
from streamsvc.config.settings import MetricsSettings
from streamsvc.errors import OperatorsOnly, Unauthorized
from streamsvc.web.credentials import credential_of
from streamsvc.web.origins import authority_of, is_own

_FORWARDED = re.compile(
    r"forwarded|via|x-forwarded.*|x-original-forwarded-for|x-(?:real|client|cluster-client)-ip"
    r"|true-client-ip|cf-.*|f(?:ly|astly)-client-ip|x-envoy-.*|x-amzn-.*|x-azure-clientip"
)
"""What a proxy adds (RFC 7239; RFC 9110, section 7.6.3): then the connection says nothing about the client."""


class Operators(msgspec.Struct, frozen=True):
    """Who may look.

    Attributes:
        access: as in the settings.
        key: for `access = "key"`.
    """

    access: Literal["loopback", "key", "open", "off"] = "loopback"
    key: str = ""

    @classmethod
    def of(cls, settings: MetricsSettings, environ: Mapping[str, str]) -> "Operators":
        """Return what the settings say."""
        return cls(settings.access, settings.key(environ))

    def check(self, scope: Scope) -> None:
        """Refuse a request that may not look.

        Raises:
            OperatorsOnly: it does not come from a program on this machine, and should.
            Unauthorized: it does not have the key.
        """
        if self.access == "loopback" and not _is_local(scope):
            raise OperatorsOnly
        if self.access == "key":
            given = credential_of(scope)
            if not hmac.compare_digest(given.encode(), self.key.encode()) or not given:
                raise Unauthorized(was_given=bool(given))


LOCAL = Operators()
"""Only programs on this machine."""


def _is_local(scope: Scope) -> bool:
    """Return whether a program on this machine has sent a request, without a proxy, and not for a page from elsewhere.

    As configured by default, nginx up to 1.28 adds no field and puts its own name for this service into `Host`, and only
    HTTP/1.0 shows that it forwards the request. Whatever reads metrics speaks HTTP/1.1.
    """
    if scope.get("http_version") == "1.0" or not _is_loopback(scope.get("client")):
        return False
    fields = {str(name, "latin-1"): str(value, "latin-1") for name, value in scope["headers"]}
    if any(map(_FORWARDED.fullmatch, fields)):
        return False
    authority = authority_of(fields.get("host", ""))
    if authority is None or not is_loopback(authority.host):
        return False  # a proxy that adds no field of its own passes on the public name
    if fields.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        return False
    origin = fields.get("origin")
    return origin is None or is_own(origin, fields.get("host", ""))


def _is_loopback(client: tuple[str, int] | None) -> bool:
    try:
        address = ipaddress.ip_address(client[0] if client else "")
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
