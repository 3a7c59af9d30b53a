"""What the claims of a token say: whether it is for this service now, and whose it is (RFC 7519, section 4)."""

from typing import Any

import msgspec

from streamsvc.config.guard_settings import JWTSettings, PrincipalLimits, is_principal_name
from streamsvc.config.keys_file import PrincipalEntry
from streamsvc.errors import Unauthorized
from streamsvc.principals import Principal

_MAX_TIME = 253_402_300_799.0
"""The end of the year 9999; a token may say that it never expires by any number."""

_LIMITS = tuple(field.name for field in msgspec.structs.fields(PrincipalLimits))


class _Claims(msgspec.Struct):
    """The registered claims that are checked; times in seconds since 1970."""

    iss: str
    aud: str | list[str]
    exp: float
    nbf: float = 0.0
    iat: float = 0.0


def refused(reason: str) -> Unauthorized:
    """Return the refusal of a token; only the log says why.

    Args:
        reason: one word; nothing of the token.
    """
    error = Unauthorized(was_given=True)
    error.log_details = {**error.log_details, "reason": reason}
    return error


def read_claims(payload: bytes) -> dict[str, Any]:
    """Return the claims of a token whose signature is good.

    Raises:
        Unauthorized: they are not a JSON object.
    """
    try:
        return msgspec.json.decode(payload, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise refused("claims") from None


def check_claims(raw: dict[str, Any], settings: JWTSettings, now: float) -> float:
    """Check the registered claims; return when the token expires, in seconds since 1970.

    Args:
        raw: all claims.
        settings: the issuer and the audience, and how far the clocks may differ.
        now: seconds since 1970.

    Raises:
        Unauthorized: a claim is missing or has a wrong type, or the token is not for this service now.
    """
    leeway = settings.leeway_seconds
    try:
        claims = msgspec.convert(raw, _Claims)
    except msgspec.ValidationError:
        raise refused("claims") from None
    audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud
    if claims.iss != settings.issuer:
        raise refused("issuer")
    if settings.audience not in audience:
        raise refused("audience")
    if now >= claims.exp + leeway:
        raise refused("expired")
    if max(claims.nbf, claims.iat) > now + leeway:
        raise refused("not_yet_valid")
    return min(claims.exp, _MAX_TIME)


def principal_of(
    claims: dict[str, Any], settings: JWTSettings, limits: PrincipalLimits, credential: str
) -> Principal:
    """Return whose token it is.

    The claim with limits has the shape of a principal's table in the keys file.

    Args:
        claims: all claims.
        settings: the names of the claims that say so.
        limits: those that the token does not set.
        credential: which token it is.

    Raises:
        Unauthorized: one of these claims cannot be used; the log names the claim.
    """
    name = claims.get(settings.principal_claim)
    if not (isinstance(name, str) and is_principal_name(name)):
        raise refused(f"claim:{settings.principal_claim}")
    raw = claims.get(settings.limits_claim, {}) if settings.limits_claim else {}
    try:
        entry = msgspec.convert(raw, PrincipalEntry)
    except msgspec.ValidationError:
        raise refused(f"claim:{settings.limits_claim}") from None
    own = {limit: getattr(entry, limit) for limit in _LIMITS if limit in raw}
    return Principal(
        name=name,
        limits=msgspec.structs.replace(limits, **own),
        providers=frozenset(entry.providers) or None,
        models=frozenset(entry.models) or None,
        credential=credential,
    )
