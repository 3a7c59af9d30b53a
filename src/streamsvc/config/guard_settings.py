"""Who may use the service, and how much of it: the settings of the guard."""

from typing import Annotated, Literal

from msgspec import Meta

from streamsvc.config.section import Name, Section

Limit = Annotated[int, Meta(ge=0, le=1_000_000_000_000)]
"""How much of something is allowed; 0 is no limit."""


MAX_PRINCIPAL_CHARS = 255
"""As in a token's `sub` (OpenID Connect Core 1.0, section 2)."""

PRINCIPAL_RULE = f"1 to {MAX_PRINCIPAL_CHARS} visible characters, without spaces, and not a key"
"""What the name of a principal is, in words."""

KEY_PREFIX = "ssk_"
"""Begins every API key of this service, so that scanners for leaked secrets can recognize them."""


def is_principal_name(text: str) -> bool:
    """Return whether a text can be the name of a principal (`PRINCIPAL_RULE`).

    Names are compared as they are. They end up in log lines and in Redis keys, so nothing in them may look like a
    separator or a line break; a key in the place of a name would be shown.
    """
    is_text = 0 < len(text) <= MAX_PRINCIPAL_CHARS and text.isprintable() and " " not in text
    return is_text and not text.startswith(KEY_PREFIX)


class AuthSettings(Section, frozen=True):
    """Who may use the service.

    Attributes:
        keys_file: lists the principals and the hashes of their keys; "" means that there are no keys.
        allow_anonymous: whether requests need no key although the service can be reached from other machines.
        ticket_seconds: how long a ticket may wait for the browser that opens it.
    """

    keys_file: str = ""
    allow_anonymous: bool = False
    ticket_seconds: Annotated[float, Meta(ge=1, le=600)] = 60.0


Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]  # fmt: skip
"""The signatures of a JWT (RFC 7518, section 3.1; RFC 8037; RFC 9864): only those with a public key."""


class JWTSettings(Section, frozen=True):
    """JSON Web Tokens as credentials (RFC 7519).

    Attributes:
        issuer: the required `iss`; "" means that no tokens are accepted.
        audience: the required `aud`.
        jwks_url: where the issuer publishes its keys (RFC 7517); the only place that keys are taken from.
        algorithms: the accepted signatures.
        principal_claim: the claim that names the principal.
        limits_claim: a claim with limits and allowed entries, as in the keys file; "" means none.
        leeway_seconds: how far the clocks may differ.
    """

    issuer: str = ""
    audience: str = ""
    jwks_url: str = ""
    algorithms: Annotated[tuple[Algorithm, ...], Meta(min_length=1)] = ("RS256", "ES256")
    principal_claim: Name = "sub"
    limits_claim: str = ""
    leeway_seconds: Annotated[float, Meta(ge=0, le=60)] = 30.0


class PrincipalLimits(Section, frozen=True):
    """What one principal may use; 0 is no limit.

    Attributes:
        requests_per_minute: how many answers may be created.
        tokens_per_minute: how many tokens they may have, input and output together.
        max_generations: how many answers may run at once.
        max_viewers: how many viewers may be connected at once.
    """

    requests_per_minute: Limit = 0
    tokens_per_minute: Limit = 0
    max_generations: Limit = 0
    max_viewers: Limit = 0
