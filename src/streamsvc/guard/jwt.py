"""JSON Web Tokens as credentials (RFC 7519), checked as RFC 8725 asks.

What is accepted comes from the settings and never from the token: the algorithms, the issuer, the audience, and the
address of the keys. A token is refused if its header offers a key of its own (`jwk`, `jku`, `x5c`, `x5u`) or asks for
an extension (`crit`). `iss`, `aud` and `exp` are required; `nbf` and `iat` are checked if they are there.

Nobody can withdraw a token before it expires, so issuers make them short. An answer may take longer than that, and its
page renews its token meanwhile. So a stream may outlive its token, but by `STREAM_SECONDS` at most: then it is cut,
and a page that has a new token resumes. A signing key that the issuer withdraws counts for new requests until the keys
are fetched again (`jwks.REFRESH_SECONDS`).
"""

import hashlib
import heapq
import re
import time
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from typing import Any

import anyio
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry, extract_compact, validate_compact
from typing_extensions import override

from streamsvc.config.guard_settings import JWTSettings, PrincipalLimits
from streamsvc.config.settings import Settings
from streamsvc.guard.authentication import Authenticator
from streamsvc.guard.claims import check_claims, principal_of, read_claims, refused
from streamsvc.guard.jwks import IssuerKeys
from streamsvc.principals import Principal

MAX_TOKEN_CHARS = 16_384
"""The maximum size of a token; one with the groups of a large company has 8 kB."""

MAX_HEADER_CHARS = 2_048

MAX_CACHED = 10_000
"""How many tokens are remembered as valid."""

CACHE_SECONDS = 300.0
"""How long a token is remembered as valid, but never longer than until it expires."""

STREAM_SECONDS = 600.0
"""How long a stream may outlive its token."""

MAX_WATCHED = 100_000
"""For how many tokens the end of their streams is remembered; beyond that, the next to end ends early."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_FORBIDDEN = frozenset({"crit", "b64", "jwk", "jku", "x5c", "x5u"})
_TICK_SECONDS = 0.5


def _registry(names: Sequence[str]) -> JWSRegistry:
    """Return joserfc's registry with these algorithms only, and without its warning that EdDSA has a newer name."""
    registry = JWSRegistry(algorithms=names, strict_check_header=False)
    registry.algorithms = {name: copy(registry.algorithms[name]) for name in names}
    for algorithm in registry.algorithms.values():
        algorithm.security_warning = None
    registry.max_header_length = MAX_HEADER_CHARS
    registry.max_payload_length = registry.max_signature_length = MAX_TOKEN_CHARS
    return registry


class JWTAuthenticator(Authenticator):
    """Knows the principals by the tokens of one issuer.

    A principal is known by its name, whatever it came with: a token and an API key with the same name are the same
    principal, with the same generations.

    Args:
        settings: what is accepted; the issuer is not "".
        limits: those of a principal whose token does not say.
        now: seconds since 1970.
    """

    def __init__(
        self,
        settings: JWTSettings,
        limits: PrincipalLimits,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._limits = limits
        self._now = now
        self._registry = _registry(settings.algorithms)
        self._cache: dict[str, tuple[Principal, float]] = {}
        self._keys = IssuerKeys(settings.jwks_url, settings.algorithms, self._cache.clear)
        self._calls: list[Callable[[str], None]] = []
        self._ends: list[tuple[float, str]] = []  # a heap
        self._watched: set[str] = set()

    @override
    async def principal(self, credential: str) -> Principal:
        if len(credential) > MAX_TOKEN_CHARS:
            raise refused("too_long")
        if not _TOKEN.fullmatch(credential):
            raise refused("not_a_token")
        # Of the whole token: two tokens can begin alike (CVE-2026-35030).
        digest = hashlib.sha256(credential.encode()).hexdigest()
        cached = self._cache.get(digest)
        if cached is not None and self._now() < cached[1]:
            return cached[0]
        claims = await self._verified(credential)
        expires = check_claims(claims, self._settings, self._now())
        which = f"jwt:{int(expires)}:{digest[:32]}"
        principal = principal_of(claims, self._settings, self._limits, which)
        self._remember(digest, principal, expires)
        return principal

    @override
    def is_revoked(self, principal: Principal) -> bool:
        _, expires, _ = principal.credential.split(":")  # as `principal` writes it
        return self._now() >= int(expires) + STREAM_SECONDS

    @override
    def on_revoked(self, call: Callable[[str], None]) -> None:
        self._calls.append(call)

    @override
    async def prepare(self, settings: Settings) -> Callable[[], None]:
        return partial(self._use, settings.principal_limits)

    def _use(self, limits: PrincipalLimits) -> None:
        if limits != self._limits:
            self._limits = limits
            self._cache.clear()

    @override
    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._keys.run)
            while True:
                await anyio.sleep(_TICK_SECONDS)
                while self._ends and self._ends[0][0] <= self._now():
                    self._end_streams()

    async def _verified(self, token: str) -> dict[str, Any]:
        """Return the claims of a token whose signature is good."""
        try:
            parts = extract_compact(token.encode(), registry=self._registry)
            header = parts.headers()
            self._registry.check_header(header)
        except (JoseError, ValueError, TypeError, AttributeError, RecursionError):
            raise refused("malformed") from None
        algorithm = header["alg"]
        if algorithm not in self._settings.algorithms:
            raise refused("algorithm")
        if header.keys() & _FORBIDDEN:
            raise refused("header")
        key = await self._keys.find(algorithm, header.get("kid"))
        if key is None:
            raise refused("unknown_key")
        if not validate_compact(parts, key.key, registry=self._registry):
            raise refused("signature")
        return read_claims(parts.payload)

    def _remember(self, digest: str, principal: Principal, expires: float) -> None:
        self._cache.pop(digest, None)
        if len(self._cache) >= MAX_CACHED:
            del self._cache[next(iter(self._cache))]
        self._cache[digest] = (principal, min(expires, self._now() + CACHE_SECONDS))
        if principal.credential not in self._watched:
            self._watched.add(principal.credential)
            heapq.heappush(self._ends, (expires + STREAM_SECONDS, principal.credential))
            if len(self._ends) > MAX_WATCHED:
                self._end_streams()

    def _end_streams(self) -> None:
        """Report the token whose streams end next."""
        _, credential = heapq.heappop(self._ends)
        self._watched.discard(credential)
        for call in self._calls:
            call(credential)
