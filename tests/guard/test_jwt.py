"""Which tokens are accepted, and whose they are (RFC 7519, RFC 8725)."""

import hmac
import json
import time
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any

import anyio
import msgspec
import pytest
from joserfc.jws import validate_compact

from streamsvc.config.guard_settings import Algorithm, JWTSettings, PrincipalLimits
from streamsvc.config.settings import Settings
from streamsvc.errors import Unauthorized
from streamsvc.guard import jwt
from streamsvc.guard.jwt import JWTAuthenticator
from support import issuer as support
from support.issuer import AUDIENCE, ISSUER, KEYS, OTHER_KEY, Issuer, compact, issuing, public

NOW = int(time.time())

LIMITS = PrincipalLimits(requests_per_minute=60, max_viewers=5)


def _constant(signature: bytes, _signed: bytes) -> bytes:
    return signature


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with issuing() as it:
        yield it


class Clock:
    """Seconds since 1970 that a test can move; it begins at `NOW`, however long ago that is."""

    def __init__(self) -> None:
        self.seconds = float(NOW)

    def __call__(self) -> float:
        return self.seconds


def claims(**changes: Any) -> dict[str, Any]:
    """Return the claims of a token that was issued at `NOW`; a change to None removes the claim."""
    return support.claims(**{"iat": NOW, "exp": NOW + 300, **changes})


def token(payload: Mapping[str, Any] | bytes | None = None, **fields: Any) -> str:
    """Return a signed token that was issued at `NOW`."""
    return support.token(claims() if payload is None else payload, **fields)


def authenticator(issuer: Issuer, clock: Clock | None = None, **changes: Any) -> JWTAuthenticator:
    algorithms: tuple[Algorithm, ...] = ("RS256", "ES256", "ES384", "ES512", "PS256", "EdDSA")
    settings = JWTSettings(
        issuer=ISSUER, audience=AUDIENCE, jwks_url=issuer.url, algorithms=algorithms
    )
    changed = msgspec.structs.replace(settings, **changes)
    return JWTAuthenticator(changed, LIMITS, clock or Clock())


async def reason(knows: JWTAuthenticator, credential: str) -> str:
    """Return why a token is refused, as the log says it; "" if it is accepted."""
    try:
        await knows.principal(credential)
    except Unauthorized as exc:
        refusal = exc
    else:
        return ""
    assert refusal.message == "The API key or token is not valid."
    assert refusal.log_details["credential"] == "invalid"
    return refusal.log_details["reason"]


@pytest.mark.parametrize("algorithm", [*KEYS, "PS256"])
async def test_token_of_the_issuer_names_the_principal(issuer: Issuer, algorithm: str) -> None:
    credential = token(algorithm=algorithm, key=KEYS[algorithm.replace("PS", "RS")])
    principal = await authenticator(issuer).principal(credential)
    assert (principal.name, principal.limits) == ("team-a", LIMITS)
    assert principal.providers is principal.models is None
    assert principal.credential.startswith("jwt:")
    assert not any(part in principal.credential for part in credential.split("."))


async def test_other_limits_count_for_tokens_that_are_known(issuer: Issuer) -> None:
    tokens, text = authenticator(issuer), token()
    assert (await tokens.principal(text)).limits == LIMITS
    for limits in (PrincipalLimits(max_viewers=1), PrincipalLimits(max_viewers=1)):
        use = await tokens.prepare(Settings(principal_limits=limits))
        use()
        assert (await tokens.principal(text)).limits == limits


async def test_newer_name_of_eddsa_is_another_algorithm(issuer: Issuer) -> None:
    credential = token(algorithm="Ed25519", key=KEYS["EdDSA"])
    assert await reason(authenticator(issuer), credential) == "algorithm"
    assert not await reason(authenticator(issuer, algorithms=("Ed25519",)), credential)


# ---- The header


def with_public_key(algorithm: str) -> str:
    """Return a token whose HMAC has a public key as its secret, as an attacker knows it."""
    secret = json.dumps(public(KEYS["RS256"])).encode()
    header = json.dumps({"alg": algorithm, "kid": "rsa"}).encode()
    digest = algorithm.replace("HS", "sha")
    return compact(
        header, json.dumps(claims()).encode(), lambda data: hmac.new(secret, data, digest).digest()
    )


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_hmac_with_the_public_key_is_refused(issuer: Issuer, algorithm: str) -> None:
    """CVE-2026-48526, and every library before it."""
    assert await reason(authenticator(issuer), with_public_key(algorithm)) == "algorithm"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", "RS256 ", "es256"])
async def test_algorithm_none_is_refused(issuer: Issuer, algorithm: str) -> None:
    header, payload = json.dumps({"alg": algorithm, "kid": "rsa"}).encode(), claims()
    for signature in (b"", b"x"):
        credential = compact(header, json.dumps(payload).encode(), partial(_constant, signature))
        expected = {"algorithm"} if signature else {"not_a_token"}
        assert await reason(authenticator(issuer), credential) in expected


async def test_algorithm_that_the_settings_lack_is_refused(issuer: Issuer) -> None:
    knows = authenticator(issuer, algorithms=("RS256",))
    assert await reason(knows, token(algorithm="ES256")) == "algorithm"
    assert await reason(knows, token(algorithm="PS256", key=KEYS["RS256"])) == "algorithm"


FOREIGN: dict[str, dict[str, Any]] = {
    "crit, unknown": {"crit": ["exp-policy"], "exp-policy": 1},
    "crit, of RFC 7797": {"crit": ["b64"], "b64": True},
    "crit, empty": {"crit": []},
    "b64": {"b64": False},
    "jwk": {"jwk": public(OTHER_KEY)},
    "jku": {"jku": "https://evil.test/jwks.json"},
    "x5u": {"x5u": "https://evil.test/chain.pem"},
    "x5c": {"x5c": ["MIIB"]},
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("key", [KEYS["ES256"], OTHER_KEY], ids=["own", "foreign"])
async def test_header_brings_no_key_and_no_extension(issuer: Issuer, name: str, key: Any) -> None:
    """Even signed by the issuer (GHSA-752w-5fwx-jx9f, CVE-2026-27962, CVE-2025-59420)."""
    why = await reason(authenticator(issuer), token(key=key, header=FOREIGN[name]))
    assert why in {"header", "malformed"}
    assert issuer.requests == 0


@pytest.mark.parametrize(
    "header",
    [
        *(b"", b"{", b"[]", b"null", b"1", b'"RS256"', b"{}", b"\xff", b'{"alg":1}', b'{"alg":null}'),
        *(b'{"alg":["ES256"]}', b'{"alg":"ES256","kid":1}', b'{"alg":"ES256","kid":{}}'),
        *(b'{"alg":"ES256","kid":["p256"]}', b"[" * 1500, b'{"a":' * 300 + b"1"),
        b'{"alg":"ES256","kid":"' + b"k" * 3000 + b'"}',
    ],
)  # fmt: skip
async def test_unreadable_header_is_refused(issuer: Issuer, header: bytes) -> None:
    why = await reason(authenticator(issuer), token(header=header))
    assert why in {"malformed", "algorithm", "not_a_token"}


# ---- The form


@pytest.mark.parametrize(
    "credential",
    [
        *("", ".", "..", "...", "a", "a.b", "a.b.", ".b.c", "a..c", "a.b.c.d.e", "a.b.c ", " a.b.c"),
        *("a.b.c\n", "a.b.é", "a.b.c=", "a+b.c.d", "a.b.\ud800", "\x00.b.c", "ssk_a_b", "x" * 100),
    ],
)  # fmt: skip
async def test_credential_that_is_not_a_token_is_refused(issuer: Issuer, credential: str) -> None:
    assert await reason(authenticator(issuer), credential) == "not_a_token"


async def test_token_has_a_size_limit_before_it_is_read(issuer: Issuer) -> None:
    fits = token(claims(more="x" * 10_000))
    assert len(fits) < jwt.MAX_TOKEN_CHARS
    assert not await reason(authenticator(issuer), fits)
    assert await reason(authenticator(issuer), "." * (jwt.MAX_TOKEN_CHARS + 1)) == "too_long"
    assert await reason(authenticator(issuer), token(claims(more="x" * 20_000))) == "too_long"


async def test_same_token_in_another_spelling_is_refused(issuer: Issuer) -> None:
    """Unused bits of base64url must be zero, so a token has one spelling."""
    knows = authenticator(issuer)
    head, payload, signature = token().split(".")
    other = chr(ord(signature[-1]) + 1)
    for credential in (
        f"{head}.{payload}.{signature[:-1]}{other}",
        f"{head}.{payload}.{signature}=",
    ):
        assert await reason(knows, credential) in {"malformed", "not_a_token", "signature"}


# ---- The signature


async def test_signature_is_checked(issuer: Issuer) -> None:
    knows = authenticator(issuer)
    assert await reason(knows, token(key=OTHER_KEY)) == "signature"
    head, payload, signature = token().split(".")
    forged = token(claims(sub="admin")).split(".")[1]
    assert await reason(knows, f"{head}.{forged}.{signature}") == "signature"
    assert await reason(knows, f"{head}.{payload}.AAAA") == "signature"
    assert await reason(knows, f"{head}.{payload}.{'A' * 86}") == "signature"
    assert await reason(knows, token(algorithm="RS256", header={"kid": "p256"})) == "unknown_key"


@pytest.mark.parametrize("algorithm", [*KEYS, "PS256"])
async def test_any_bytes_are_a_bad_signature(issuer: Issuer, algorithm: str) -> None:
    knows = authenticator(issuer)
    header = json.dumps({"alg": algorithm, "kid": KEYS[algorithm.replace("PS", "RS")].kid}).encode()
    payload = json.dumps(claims()).encode()
    for size in (1, 63, 64, 65, 96, 132, 256, 257, 1024):
        for byte in (b"\0", b"\x01", b"\xff"):
            credential = compact(header, payload, partial(_constant, byte * size))
            assert await reason(knows, credential) == "signature"


async def test_payload_that_is_not_an_object_is_refused(issuer: Issuer) -> None:
    knows = authenticator(issuer)
    for payload in (b"[]", b"null", b"{", b"\xff", b'"x"', b"[" * 8000):
        assert await reason(knows, token(payload)) == "claims"


# ---- The claims

BAD_CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "no issuer": ({"iss": None}, "claims"),
    "another issuer": ({"iss": "https://issuer.test"}, "issuer"),
    "issuer in another case": ({"iss": ISSUER.upper()}, "issuer"),
    "list of issuers": ({"iss": [ISSUER]}, "claims"),
    "no audience": ({"aud": None}, "claims"),
    "another audience": ({"aud": "other"}, "audience"),
    "audience that begins alike": ({"aud": AUDIENCE + "2"}, "audience"),
    "empty list of audiences": ({"aud": []}, "audience"),
    "list of other audiences": ({"aud": ["a", "b"]}, "audience"),
    "audience in a number": ({"aud": [1]}, "claims"),
    "no expiry": ({"exp": None}, "claims"),
    "expiry in a string": ({"exp": str(NOW + 60)}, "claims"),
    "expiry true": ({"exp": True}, "claims"),
    "expired": ({"exp": NOW - 31}, "expired"),
    "expired in the past century": ({"exp": -1.5}, "expired"),
    "not valid yet": ({"nbf": NOW + 90}, "not_yet_valid"),
    "issued in the future": ({"iat": NOW + 90}, "not_yet_valid"),
    "nbf in a string": ({"nbf": "0"}, "claims"),
    "no subject": ({"sub": None}, "claim:sub"),
    "empty subject": ({"sub": ""}, "claim:sub"),
    "subject in a number": ({"sub": 1}, "claim:sub"),
    "subject with a line feed": ({"sub": "a\nb"}, "claim:sub"),
    "subject with NUL": ({"sub": "a\0"}, "claim:sub"),
    "subject with DEL": ({"sub": "a\x7f"}, "claim:sub"),
    "subject with a line separator": ({"sub": "a\u2028b"}, "claim:sub"),
    "subject with a space": ({"sub": "a b"}, "claim:sub"),
    "subject that is a key": ({"sub": "ssk_a_b"}, "claim:sub"),
    "long subject": ({"sub": "a" * 256}, "claim:sub"),
}


@pytest.mark.parametrize("name", BAD_CLAIMS)
async def test_claims_are_required_and_checked(issuer: Issuer, name: str) -> None:
    changes, expected = BAD_CLAIMS[name]
    assert await reason(authenticator(issuer), token(claims(**changes))) == expected


GOOD_CLAIMS: dict[str, dict[str, Any]] = {
    "list of audiences": {"aud": ["other", AUDIENCE]},
    "expired within the leeway": {"exp": NOW - 29},
    "soon valid": {"nbf": NOW + 29, "iat": NOW + 29},
    "fractions": {"exp": NOW + 0.5, "nbf": NOW - 0.5},
    "never expires": {"exp": 1e300},
    "others": {"scope": "a b", "jti": "1", "nonce": None},
}


@pytest.mark.parametrize("name", GOOD_CLAIMS)
async def test_clocks_may_differ_by_the_leeway(issuer: Issuer, name: str) -> None:
    assert not await reason(authenticator(issuer), token(claims(**GOOD_CLAIMS[name])))


@pytest.mark.parametrize("name", ["é", "用户", "auth0|12", "a" * 255, "__proto__", "😀"])
async def test_principal_has_any_printable_name(issuer: Issuer, name: str) -> None:
    knows = authenticator(issuer, principal_claim="https://x.test/name")
    found = await knows.principal(token(claims(**{"https://x.test/name": name})))
    assert found.name == name


# ---- Limits

BAD_LIMITS: tuple[Any, ...] = (
    *(None, [], "x", 1, {"max_viewer": 1}, {"max_viewers": -1}, {"max_viewers": "1"}),
    *({"max_viewers": 1.5}, {"max_viewers": True}, {"providers": "openai"}, {"providers": [1]}),
    *({"models": {"a": 1}}, {"models": [""]}, {"models": []}, {"providers": []}),
)


@pytest.mark.parametrize("value", BAD_LIMITS, ids=repr)
async def test_limits_of_another_shape_refuse_the_token(issuer: Issuer, value: Any) -> None:
    """The log names the claim, never its value."""
    knows = authenticator(issuer, limits_claim="limits")
    payload = {**claims(), "limits": value}
    assert await reason(knows, token(payload)) == "claim:limits"


async def test_token_overrides_the_default_limits(issuer: Issuer) -> None:
    knows = authenticator(issuer, limits_claim="limits")
    allowed = {"max_viewers": 0, "max_generations": 2, "providers": ["a", "b"], "models": ["m"]}
    found = await knows.principal(token(claims(limits=allowed)))
    expected = PrincipalLimits(requests_per_minute=60, max_generations=2, max_viewers=0)
    assert found.limits == expected
    assert (found.providers, found.models) == (frozenset({"a", "b"}), frozenset({"m"}))
    assert (await knows.principal(token(claims(sub="b")))).limits == LIMITS


async def test_limits_are_ignored_unless_the_settings_name_their_claim(issuer: Issuer) -> None:
    found = await authenticator(issuer).principal(token(claims(limits={"max_viewers": 1000})))
    assert found.limits == LIMITS


# ---- What is remembered


class Verifications:
    """Counts how often a signature is verified."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0

        def counted(*args: Any, **fields: Any) -> bool:
            self.count += 1
            return validate_compact(*args, **fields)

        monkeypatch.setattr(jwt, "validate_compact", counted)


async def test_valid_token_is_verified_once(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Verifications(monkeypatch)
    knows, credential = authenticator(issuer), token()
    first = await knows.principal(credential)
    assert await knows.principal(credential) is first
    assert made.count == 1
    assert issuer.requests == 1


async def test_tokens_that_begin_alike_are_two_tokens(issuer: Issuer) -> None:
    """CVE-2026-35030: a cache by the first characters took one for the other."""
    knows = authenticator(issuer)
    tokens = [token(claims(sub=f"team-{name}", aud=["a" * 2000, AUDIENCE])) for name in "ab"]
    assert tokens[0][:2000] == tokens[1][:2000]
    names = [(await knows.principal(credential)).name for credential in tokens]
    assert names == ["team-a", "team-b"]
    head, payload, _ = tokens[0].split(".")
    assert await reason(knows, f"{head}.{payload}.{tokens[1].split('.')[2]}") == "signature"


async def test_remembered_token_expires(issuer: Issuer) -> None:
    clock = Clock()
    knows, credential = authenticator(issuer, clock, leeway_seconds=0.0), token()
    await knows.principal(credential)
    clock.seconds += 299
    assert not await reason(knows, credential)
    clock.seconds += 2
    assert await reason(knows, credential) == "expired"


async def test_long_token_is_verified_again(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, clock = Verifications(monkeypatch), Clock()
    knows, credential = authenticator(issuer, clock), token(claims(exp=NOW + 86_400))
    for _ in range(2):
        await knows.principal(credential)
        clock.seconds += jwt.CACHE_SECONDS
    assert made.count == 2


async def test_number_of_remembered_tokens_is_bounded(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Verifications(monkeypatch)
    monkeypatch.setattr(jwt, "MAX_CACHED", 2)
    knows = authenticator(issuer)
    tokens = [token(claims(sub=f"team-{number}")) for number in range(3)]
    for credential in (*tokens, tokens[2], tokens[1], tokens[0]):
        await knows.principal(credential)
    assert made.count == 4  # the first was forgotten


async def test_refused_token_is_not_remembered(issuer: Issuer) -> None:
    knows = authenticator(issuer)
    credential = token(key=OTHER_KEY)
    assert [await reason(knows, credential) for _ in range(2)] == ["signature"] * 2


# ---- The end of streams


async def test_stream_may_outlive_its_token_for_a_while(issuer: Issuer) -> None:
    clock = Clock()
    knows = authenticator(issuer, clock)
    found = await knows.principal(token())
    assert not knows.is_revoked(found)
    clock.seconds += 300 + jwt.STREAM_SECONDS - 2
    assert not knows.is_revoked(found)
    clock.seconds += 3
    assert knows.is_revoked(found)


async def test_tokens_with_streams_are_bounded(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the bound, the streams of the token that expires first are cut."""
    monkeypatch.setattr(jwt, "MAX_WATCHED", 2)
    knows, cut = authenticator(issuer), list[str]()
    knows.on_revoked(cut.append)
    tokens = [token(claims(exp=NOW + 600 + after)) for after in (20, 0, 10)]
    found = [await knows.principal(credential) for credential in tokens]
    assert cut == [found[1].credential]


async def test_streams_of_an_expired_token_are_reported_while_it_runs(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwt, "STREAM_SECONDS", -300.0)  # at once
    knows, seen, both = authenticator(issuer), list[str](), anyio.Event()

    def cut(credential: str) -> None:
        seen.append(credential)
        if len(seen) == 2:
            both.set()

    knows.on_revoked(cut)
    found = [await knows.principal(token(claims(sub=name))) for name in ("a", "b")]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(knows.run)
        with anyio.fail_after(10):
            await both.wait()
        tasks.cancel_scope.cancel()
    assert set(seen) == {principal.credential for principal in found}
