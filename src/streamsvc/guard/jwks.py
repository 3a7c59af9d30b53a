"""The public keys of a token issuer: fetched from one address, kept and refreshed (RFC 7517).

Keys come from the configured address and nowhere else. A document that cannot be fetched or read changes nothing:
what was known stays, for a day. Keys without a use for us are left out, and a key is only used for the signatures
that it is for: `use`, `key_ops`, `alg`, `kty` and curve must agree with the algorithm.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import httpx2
import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from streamsvc.errors import IssuerUnavailable
from streamsvc.log_line import log
from streamsvc.providers.http.endpoint import Endpoint
from streamsvc.providers.http.errors import TransportError
from streamsvc.providers.http.exchange import Exchange, read_bounded

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 300.0
"""How often the keys are fetched again. A key that the issuer withdraws is used for at most this long."""

RETRY_SECONDS = 10.0
"""How long after a failure they are fetched again."""

UNKNOWN_SECONDS = 60.0
"""How often a token with an unknown key may cause a fetch: anybody can invent key ids."""

STALE_SECONDS = 86_400.0
"""How long keys are used while the issuer cannot be reached."""

FETCH_SECONDS = 5.0
"""How long a fetch may take."""

MAX_BYTES = 262_144
"""The maximum size of the document; issuers publish a few kilobytes."""

MAX_KEYS = 100
"""How many keys of a document are used."""

_RSA_CHARS = range(342, 1366 + 1)
"""The length of an RSA modulus in base64url: 2048 bits at least (RFC 7518, section 3.3), and 8192 at most, because a
larger one takes long to verify with."""

_MAX_EXPONENT_CHARS = 11  # 64 bits

AsymmetricKey = RSAKey | ECKey | OKPKey

_TYPES: dict[str, type[RSAKey | ECKey | OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
"""By `kty`. Symmetric keys (`oct`) are secrets; one in a public document is a mistake."""


class _Document(msgspec.Struct):
    """A JWK Set (RFC 7517, section 5)."""

    keys: list[Any]


class IssuerKey(msgspec.Struct, frozen=True):
    """A key of the issuer.

    Attributes:
        id: its `kid`; None if it has none.
        key: joserfc's.
        algorithms: the signatures that it may verify.
    """

    id: str | None
    key: AsymmetricKey
    algorithms: frozenset[str]


class _FetchFailed(Exception):
    """The document cannot be used; the text is one word, or `name=value`, for the log."""


class IssuerKeys:
    """The keys of an issuer.

    Args:
        url: of the JWK Set.
        algorithms: the signatures that are accepted.
        on_change: called when a fetched document has other keys than the one before.
        now: monotonic seconds.
    """

    def __init__(
        self,
        url: str,
        algorithms: Sequence[str],
        on_change: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = httpx2.URL(url)
        self._algorithms = algorithms
        self._on_change = on_change
        self._now = now
        self._keys: Sequence[IssuerKey] = ()
        self._document = b""
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._asked_at: float | None = None  # for a token with an unknown key
        self._failure: str | None = None
        self._lock = anyio.Lock()  # at most one fetch at a time

    async def find(self, algorithm: str, key_id: str | None) -> IssuerKey | None:
        """Return the key that a token names; None if the issuer does not have it.

        May fetch the keys, within `FETCH_SECONDS`.

        Args:
            algorithm: the signature of the token, one of the accepted ones.
            key_id: the `kid` of the token; without one, the issuer must have a single key for the signature.

        Raises:
            IssuerUnavailable: the key is unknown, and the keys could not be fetched.
        """
        found = self._match(algorithm, key_id)
        if found is None:
            # A client that leaves must not end the one fetch of this minute.
            with anyio.CancelScope(shield=True):
                await self._fetch_for_unknown(algorithm, key_id)
            found = self._match(algorithm, key_id)
        if found is None and self._failure is not None:
            raise IssuerUnavailable
        return found

    async def run(self) -> None:
        """Keep the keys up to date; runs until it is cancelled."""
        while True:
            async with self._lock:
                await self._fetch()
            await anyio.sleep(REFRESH_SECONDS if self._failure is None else RETRY_SECONDS)

    def _match(self, algorithm: str, key_id: str | None) -> IssuerKey | None:
        if not self._are_fresh():
            return None
        fit = [key for key in self._keys if algorithm in key.algorithms]
        if key_id is None:
            return fit[0] if len(fit) == 1 else None
        return next((key for key in fit if key.id == key_id), None)

    def _are_fresh(self) -> bool:
        return self._fetched_at is not None and self._now() - self._fetched_at < STALE_SECONDS

    async def _fetch_for_unknown(self, algorithm: str, key_id: str | None) -> None:
        async with self._lock:
            if self._match(algorithm, key_id) is not None:  # fetched while this one waited
                return
            before, seconds = self._asked_at, UNKNOWN_SECONDS
            if not self._are_fresh():
                before, seconds = self._tried_at, RETRY_SECONDS
            now = self._now()
            if before is None or now - before >= seconds:
                self._asked_at = now
                await self._fetch()

    async def _fetch(self) -> None:
        """Fetch the document, and use its keys; on a failure, keep those that are known."""
        self._tried_at = self._now()
        try:
            document = await self._download()
            keys, left_out = self._read(document)
        except _FetchFailed as exc:
            if str(exc) != self._failure:
                log(logger, logging.WARNING, "jwks.failed", reason=str(exc), setting="jwt.jwks_url")
            self._failure = str(exc)
            return
        has_changed = document != self._document
        if has_changed or self._failure is not None:
            log(logger, logging.INFO, "jwks.loaded", keys=len(keys), left_out=left_out)
        self._failure, self._fetched_at = None, self._now()
        if has_changed:
            self._keys, self._document = keys, document
            self._on_change()

    async def _download(self) -> bytes:
        request = httpx2.Request("GET", self._url, headers={"Accept": "application/json"})
        exchange: Exchange | None = None
        endpoint: Endpoint | None = None
        try:
            with anyio.fail_after(FETCH_SECONDS):
                endpoint = Endpoint(request, connect_seconds=FETCH_SECONDS)
                exchange = await endpoint.send(b"")
                if exchange.status != 200:  # noqa: PLR2004  # also for a redirect: it is not followed
                    raise _FetchFailed(f"status_{exchange.status}")
                document = await read_bounded(
                    exchange.read, max_bytes=MAX_BYTES, seconds=FETCH_SECONDS
                )
        except TimeoutError:
            raise _FetchFailed("timeout") from None
        except (TransportError, OSError) as exc:  # also of a file of certificates that is away
            raise _FetchFailed("no_response") from exc
        else:
            if len(document) >= MAX_BYTES:
                raise _FetchFailed("too_large")
            if not exchange.is_complete:
                raise _FetchFailed("cut")
            return document
        finally:
            if endpoint is not None:
                endpoint.close()

    def _read(self, document: bytes) -> tuple[Sequence[IssuerKey], int]:
        """Return the keys of a document, and how many of it are not used."""
        try:
            raw = msgspec.json.decode(document, type=_Document).keys
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise _FetchFailed("no_jwk_set") from None
        read = [_read_key(key, self._algorithms) for key in raw[:MAX_KEYS]]
        keys = [key for key in read if key is not None]
        return keys, len(raw) - len(keys)


def _read_key(raw: Any, algorithms: Sequence[str]) -> IssuerKey | None:
    """Return a key of a JWK Set; None if it cannot verify any of these signatures."""
    if not isinstance(raw, dict):
        return None
    kind, key_id = _TYPES.get(str(raw.get("kty"))), raw.get("kid")
    # A private or symmetric key in a public document is known to everybody.
    if kind is None or raw.keys() & {"d", "k"} or not isinstance(key_id, str | None):
        return None
    if kind is RSAKey and not _is_good_rsa(raw):
        return None
    try:
        key = kind.import_key(raw)
        key.get_op_key("verify")
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    fit = frozenset(name for name in algorithms if _fits(key, name))
    return IssuerKey(key_id, key, fit) if fit else None


def _is_good_rsa(raw: dict[str, Any]) -> bool:
    modulus, exponent = raw.get("n"), raw.get("e")
    if not (isinstance(modulus, str) and isinstance(exponent, str)):
        return False
    return len(modulus) in _RSA_CHARS and len(exponent) <= _MAX_EXPONENT_CHARS


def _fits(key: AsymmetricKey, algorithm: str) -> bool:
    """Return whether a key is for a signature: its `use`, `alg`, type and curve."""
    try:
        JWSRegistry.algorithms[algorithm].check_key(key)
    except JoseError:
        return False
    return True
