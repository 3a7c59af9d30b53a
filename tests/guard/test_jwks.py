"""The keys of an issuer, fetched from a real server on loopback: slow, huge, redirecting, broken, rotating."""

import json
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme

from streamsvc.errors import IssuerUnavailable
from streamsvc.guard import jwks
from streamsvc.guard.jwks import IssuerKeys
from support.issuer import KEYS, OTHER_KEY, Issuer, issuing, key_set, public, response

ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "EdDSA")


class Clock:
    """Monotonic seconds that a test can move."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def keys_of(issuer: Issuer, clock: Clock | None = None) -> IssuerKeys:
    return IssuerKeys(issuer.url, ALGORITHMS, now=clock or Clock())


async def has(keys: IssuerKeys, key_id: str | None = "p256", algorithm: str = "ES256") -> bool:
    return await keys.find(algorithm, key_id) is not None


async def test_keys_are_fetched_once_at_their_first_use() -> None:
    async with issuing() as issuer:
        keys = keys_of(issuer)
        assert issuer.requests == 0
        assert [await has(keys), await has(keys), await has(keys, "rsa", "RS256")] == [True] * 3
        assert issuer.requests == 1
        head = issuer.peer.heads[0].lower()
        assert head.startswith(b"get /jwks.json http/1.1\r\n")
        assert b"authorization" not in head


# ---- Documents that cannot be used

HUGE = json.dumps({"keys": [public(KEYS["ES256"])], "more": "x" * jwks.MAX_BYTES}).encode()
ENDLESS = b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (jwks.MAX_BYTES + 10)

BROKEN = {
    "status_500": response(b"{}", "500 Internal Server Error"),
    "status_404": response(key_set(), "404 Not Found"),
    "status_302": response(key_set(), "302 Found", "Location: https://evil.test/jwks.json"),
    "status_304": response(b"", "304 Not Modified"),
    "status_203": response(key_set(), "203 Non-Authoritative Information"),
    "too_large": response(HUGE),
    "too_large, endless": ENDLESS,
    "cut": response(key_set()).replace(b"Content-Length: ", b"Content-Length: 9"),
    "no_response": b"SSH-2.0-OpenSSH\r\n\r\n",
    "no_jwk_set": response(b"<html>"),
    "no_jwk_set, null": response(b"null"),
    "no_jwk_set, list": response(b"[]"),
    "no_jwk_set, no keys": response(b"{}"),
    "no_jwk_set, keys in an object": response(b'{"keys": {}}'),
    "no_jwk_set, deep": response(b'{"keys": ' + b"[" * 100_000),
    "no_jwk_set, not UTF-8": response(b'{"keys": ["\xff"]}'),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_broken_document_is_not_used(name: str, caplog: pytest.LogCaptureFixture) -> None:
    async with issuing() as issuer:
        issuer.answer = BROKEN[name]
        with pytest.raises(IssuerUnavailable):
            await has(keys_of(issuer))
        assert issuer.requests == 1  # a redirect is not followed
    assert f"jwks.failed reason={name.partition(',')[0]} " in caplog.text


async def test_issuer_that_does_not_answer_costs_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(jwks, "FETCH_SECONDS", 0.2)
    async with issuing() as issuer:
        issuer.answer = b""
        with anyio.fail_after(10), pytest.raises(IssuerUnavailable):
            await has(keys_of(issuer))
    assert "jwks.failed reason=timeout" in caplog.text


async def test_issuer_that_cannot_be_reached_is_unavailable() -> None:
    async with issuing() as issuer:
        keys = keys_of(issuer)
    with pytest.raises(IssuerUnavailable) as caught:
        await has(keys)
    assert (caught.value.status, caught.value.code) == (503, "issuer_unavailable")


@pytest.mark.parametrize("name", BROKEN)
async def test_known_keys_stay_while_the_document_is_broken(name: str) -> None:
    async with issuing() as issuer:
        clock = Clock()
        keys = keys_of(issuer, clock)
        assert await has(keys)
        issuer.answer = BROKEN[name]
        clock.seconds += jwks.UNKNOWN_SECONDS
        with pytest.raises(IssuerUnavailable):
            await has(keys, "new")
        clock.seconds += jwks.STALE_SECONDS - jwks.UNKNOWN_SECONDS - 1
        assert await has(keys)
        clock.seconds += 2  # a day after the last success
        with pytest.raises(IssuerUnavailable):
            await has(keys)


async def test_certificate_of_the_issuer_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also while the file of certificates is away."""
    authority, server = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    certificates = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(certificates))
    async with issuing(tls=server) as issuer:

        async def fetched(host: str) -> bool:
            url = f"https://{host}:{issuer.peer.port}/jwks.json"
            with suppress(IssuerUnavailable):
                return await has(IssuerKeys(url, ALGORITHMS, now=Clock()))
            assert "jwks.failed reason=no_response" in caplog.text
            return False

        assert not await fetched("localhost")  # an unknown authority
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates))
        assert await fetched("localhost")
        assert not await fetched("127.0.0.1")  # the certificate of another name
        certificates.unlink()
        assert not await fetched("localhost")


# ---- Rotation


async def test_new_key_is_found_and_a_withdrawn_one_forgotten() -> None:
    async with issuing(key_set(public(KEYS["ES256"]))) as issuer:
        changes: list[None] = []
        clock = Clock()
        keys = IssuerKeys(issuer.url, ALGORITHMS, lambda: changes.append(None), clock)
        assert await has(keys)
        issuer.answer = response(key_set(public(KEYS["RS256"])))
        clock.seconds += jwks.UNKNOWN_SECONDS
        assert await has(keys, "rsa", "RS256")
        assert not await has(keys)
        assert (len(changes), issuer.requests) == (2, 2)


async def test_unknown_keys_cause_one_fetch_a_minute() -> None:
    """Whatever ids they have: anybody can invent them."""
    async with issuing() as issuer:
        clock = Clock()
        keys = keys_of(issuer, clock)
        await has(keys)
        for number in range(50):
            assert not await has(keys, f"unknown-{number}")
        assert issuer.requests == 1  # that of the first use counts
        clock.seconds += jwks.UNKNOWN_SECONDS
        for number in range(50):
            assert not await has(keys, f"unknown-{number}")
        assert issuer.requests == 2


async def test_failed_fetch_is_not_repeated_at_once() -> None:
    async with issuing() as issuer:
        issuer.answer = BROKEN["status_500"]
        clock = Clock()
        keys = keys_of(issuer, clock)
        for expected in (1, 1, 2):
            with pytest.raises(IssuerUnavailable):
                await has(keys)
            assert issuer.requests == expected
            clock.seconds += jwks.RETRY_SECONDS * 0.6
        issuer.answer = response(key_set())
        clock.seconds += jwks.RETRY_SECONDS
        assert await has(keys)


async def test_callers_share_one_fetch() -> None:
    async with issuing() as issuer:
        keys = keys_of(issuer)
        found: list[bool] = []

        async def ask() -> None:
            found.append(await has(keys))

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(ask)
        assert found == [True] * 20
        assert issuer.requests == 1


async def test_caller_that_leaves_does_not_end_the_fetch() -> None:
    async with issuing() as issuer:
        keys = keys_of(issuer)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await has(keys)
        assert await has(keys)
        assert issuer.requests == 1


async def test_keys_are_refreshed_in_the_background(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure is logged once, and so is its end."""
    caplog.set_level("INFO")
    monkeypatch.setattr(jwks, "REFRESH_SECONDS", 0.001)
    monkeypatch.setattr(jwks, "RETRY_SECONDS", 0.001)
    loaded = anyio.Event()
    async with issuing() as issuer, anyio.create_task_group() as tasks:
        keys = IssuerKeys(issuer.url, ALGORITHMS, loaded.set, Clock())
        issuer.answer = BROKEN["status_500"]
        tasks.start_soon(keys.run)
        with anyio.fail_after(10):
            await issuer.asked(4)
            issuer.answer = response(key_set())
            await loaded.wait()
        assert await has(keys)
        tasks.cancel_scope.cancel()
    assert "jwks.loaded keys=4 left_out=1" in caplog.text
    assert caplog.text.count("jwks.failed") == 1


# ---- Which key is used for what

EC, RSA = public(KEYS["ES256"]), public(KEYS["RS256"])

UNFIT: dict[str, Any] = {
    "for encryption": {**EC, "use": "enc"},
    "unknown use": {**EC, "use": "x"},
    "only for signing": {**EC, "key_ops": ["sign"]},
    "for another algorithm": {**EC, "alg": "ES384"},
    "on another curve": public(KEYS["ES384"], kid="p256"),
    "of another type": {**RSA, "kid": "p256"},
    "symmetric": {"kty": "oct", "k": "AAAA", "kid": "p256", "alg": "ES256"},
    "unknown type": {**EC, "kty": "AKP"},
    "no type": {name: value for name, value in EC.items() if name != "kty"},
    "type in a list": {**EC, "kty": ["EC"]},
    "private": KEYS["ES256"].as_dict(private=True),
    "off the curve": {**EC, "x": EC["y"]},
    "without a coordinate": {name: value for name, value in EC.items() if name != "y"},
    "coordinate in a number": {**EC, "x": 1},
    "id in a number": {**EC, "kid": 1},
    "another id": {**EC, "kid": "P256"},
    "not an object": "p256",
    "a list": [EC],
}


@pytest.mark.parametrize("name", UNFIT)
async def test_unfit_key_is_not_used(name: str) -> None:
    """And does not spoil the others."""
    async with issuing(key_set(UNFIT[name], RSA)) as issuer:
        keys = keys_of(issuer)
        assert not await has(keys)
        assert await has(keys, "rsa", "RS256")


BAD_RSA: dict[str, dict[str, Any]] = {
    "1024 bits": {"n": "s" * 171},
    "16384 bits": {"n": "s" * 2731},
    "huge exponent": {"e": "s" * 100},
    "even exponent": {"e": "AAAA"},
    "modulus in a number": {"n": 7},
    "not base64url": {"n": "=" * 400},
}


@pytest.mark.parametrize("name", BAD_RSA)
async def test_weak_or_expensive_rsa_key_is_not_used(name: str) -> None:
    async with issuing(key_set({**RSA, **BAD_RSA[name]}, EC)) as issuer:
        keys = keys_of(issuer)
        assert not await has(keys, "rsa", "RS256")
        assert await has(keys)


async def test_key_that_fits_several_algorithms_verifies_each() -> None:
    async with issuing(key_set(RSA)) as issuer:
        keys = keys_of(issuer)
        assert [await has(keys, "rsa", name) for name in ("RS256", "PS256")] == [True, True]
        assert not await has(keys, "rsa", "ES256")


async def test_token_without_a_key_id_needs_a_single_key() -> None:
    async with issuing(key_set(EC, RSA)) as issuer:
        assert await has(keys_of(issuer), None)
    async with issuing(key_set(public(KEYS["ES256"], kid=None), RSA)) as issuer:
        assert await has(keys_of(issuer), None)
        assert not await has(keys_of(issuer))
    async with issuing(key_set(EC, public(OTHER_KEY, kid="other"))) as issuer:
        assert not await has(keys_of(issuer), None)


async def test_number_of_keys_is_bounded() -> None:
    many = [{**EC, "kid": str(number)} for number in range(jwks.MAX_KEYS)]
    async with issuing(key_set(*many, EC)) as issuer:
        keys = keys_of(issuer)
        assert await has(keys, "0")
        assert not await has(keys)
