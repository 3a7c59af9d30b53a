"""A token issuer: its keys, its JWK Set on a loopback port, and tokens of every kind, good and bad."""

import base64
import json
import ssl
import time
from asyncio import StreamWriter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from support.http_peer import Peer, peer

ISSUER, AUDIENCE = "https://issuer.test/", "streamsvc"

Key = RSAKey | ECKey | OKPKey

KEYS: Mapping[str, Key] = {
    "RS256": RSAKey.generate_key(2048, {"kid": "rsa"}),
    "ES256": ECKey.generate_key("P-256", {"kid": "p256"}),
    "ES384": ECKey.generate_key("P-384", {"kid": "p384"}),
    "ES512": ECKey.generate_key("P-521", {"kid": "p521"}),
    "EdDSA": OKPKey.generate_key("Ed25519", {"kid": "ed"}),
}
"""Private keys, each by a signature it makes."""

OTHER_KEY = ECKey.generate_key("P-256", {"kid": "p256"})
"""A stranger's key, with the id of one of the issuer's."""


def public(key: Key, **fields: object) -> dict[str, Any]:
    """Return a key as the issuer publishes it; a field that is None is left out."""
    found = {**key.as_dict(private=False), **fields}
    return {name: value for name, value in found.items() if value is not None}


def key_set(*keys: Any) -> bytes:
    """Return a JWK Set; without arguments one with all `KEYS`."""
    return json.dumps({"keys": list(keys) or [public(key) for key in KEYS.values()]}).encode()


def response(body: bytes, status: str = "200 OK", *fields: str) -> bytes:
    """Return an HTTP response."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(lines).encode() + body


def claims(**changes: Any) -> dict[str, Any]:
    """Return the claims of a good token; a change to None removes the claim."""
    now = int(time.time())
    usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "team-a", "iat": now, "exp": now + 300}
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


def token(
    payload: Mapping[str, Any] | bytes | None = None,
    *,
    algorithm: str = "ES256",
    key: Key | None = None,
    header: Mapping[str, Any] | bytes | None = None,
) -> str:
    """Return a signed token.

    Args:
        payload: the claims; good ones by default.
        algorithm: the signature.
        key: what signs; by default the issuer's key for the algorithm.
        header: further parameters (None removes one), or the whole header.
    """
    signer = key or KEYS[algorithm]
    if not isinstance(header, bytes):
        named = {"alg": algorithm, "kid": signer.kid, **(header or {})}
        header = _json({name: value for name, value in named.items() if value is not None})
    body = (
        payload if isinstance(payload, bytes) else _json(claims() if payload is None else payload)
    )
    return compact(header, body, lambda data: JWSRegistry.algorithms[algorithm].sign(data, signer))


def compact(header: bytes, payload: bytes, sign: Callable[[bytes], bytes]) -> str:
    """Return a token in the compact serialization (RFC 7515, section 7.1), whatever is in it."""
    signed = f"{_base64(header)}.{_base64(payload)}"
    return f"{signed}.{_base64(sign(signed.encode()))}"


class Issuer:
    """Publishes keys.

    Attributes:
        answer: the response to each request, in bytes; b"" never answers.
        peer: the server.
    """

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.peer = Peer()
        self._was_asked = anyio.Event()

    @property
    def url(self) -> str:
        """The address of its JWK Set."""
        return f"{self.peer.url}/jwks.json"

    @property
    def requests(self) -> int:
        """How often its keys were asked for."""
        return len(self.peer.heads)

    async def asked(self, times: int) -> None:
        """Wait until its keys were asked for that often."""
        while self.requests < times:
            await self._was_asked.wait()

    async def play(self, writer: StreamWriter) -> None:
        """Answer one request."""
        self._was_asked.set()
        self._was_asked = anyio.Event()
        if not self.answer:
            await anyio.sleep_forever()
        writer.write(self.answer)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def issuing(
    document: bytes | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Issuer]:
    """Publish a JWK Set, by default one with all `KEYS`, until the context is left."""
    issuer = Issuer(response(document or key_set()))
    async with peer(issuer.play, tls) as issuer.peer:
        yield issuer


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode()


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
