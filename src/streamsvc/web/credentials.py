"""Finds the credential of a request, whatever carries it: a rule for one carrier would be a hole for the others."""

from collections.abc import Mapping

from starlette.types import Scope

from streamsvc.web.origins import is_own

COOKIE = "__Host-streamsvc"
"""The cookie that may hold a credential; the prefix binds it to this host (RFC 6265bis, section 4.1.3.2)."""

_BEARER = "bearer "
_AUTHORIZATION, _COOKIES = b"authorization", b"cookie"
_KEY_FIELDS = (b"x-api-key", b"api-key")
_FIELDS = {_AUTHORIZATION, _COOKIES, *_KEY_FIELDS, b"host", b"origin", b"sec-fetch-site"}


def credential_of(scope: Scope) -> str:
    """Return the credential of a request; "" if there is none.

    The first of these counts: `Authorization: Bearer` (RFC 6750, section 2.1), `x-api-key`, `api-key`, and the cookie
    on a request that comes from a page of this origin or that a person has typed: browsers add a cookie to requests
    of any page.
    """
    fields: dict[bytes, str] = {}
    for name, value in scope["headers"]:
        if name in _FIELDS:
            fields.setdefault(name, value.decode("latin-1").strip())
    bearer = fields.get(_AUTHORIZATION, "")
    if bearer[: len(_BEARER)].lower() == _BEARER:
        return bearer[len(_BEARER) :].strip()
    if key := next(filter(None, map(fields.get, _KEY_FIELDS)), None):
        return key
    return _cookie(fields[_COOKIES]) if _COOKIES in fields and _is_own_page(fields) else ""


def _is_own_page(fields: Mapping[bytes, str]) -> bool:
    """Return whether no other page has caused a request (Fetch Metadata, section 2.3)."""
    if (site := fields.get(b"sec-fetch-site")) is not None:
        return site in {"same-origin", "none"}
    return is_own(fields.get(b"origin", ""), fields.get(b"host", ""))


def _cookie(field: str) -> str:
    """Return the value of the cookie in a `Cookie` field (RFC 6265, section 4.2.1); "" if it is not there."""
    for pair in field.split(";"):
        name, _, value = pair.partition("=")
        if name.strip() == COOKIE:
            return value.strip()
    return ""
