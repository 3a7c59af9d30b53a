"""JSON Web Tokens at `python -m streamsvc serve`, with an issuer on loopback."""

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import anyio
import httpx2
import pytest

from streamsvc.config.guard_settings import JWTSettings
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import Settings
from streamsvc.engine.ids import new_id
from streamsvc.guard import jwt
from support.asking import CLIENTS, answered, refusal_of
from support.eventstream import view
from support.issuer import (
    AUDIENCE,
    ISSUER,
    KEYS,
    OTHER_KEY,
    Issuer,
    claims,
    issuing,
    key_set,
    public,
    response,
    token,
)
from support.process import serve
from support.service import serving

QUICK = {"PROVIDERS__FAKE__FIRST_WORD_SECONDS": "0", "PROVIDERS__FAKE__WORDS_PER_SECOND": "0"}


def accepting(issuer: Issuer) -> dict[str, str]:
    return {
        **QUICK,
        "JWT__ISSUER": ISSUER,
        "JWT__AUDIENCE": AUDIENCE,
        "JWT__JWKS_URL": issuer.url,
        "SERVER__LOG_LEVEL": "debug",
    }


def bearer(credential: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {credential}"}


@pytest.mark.promise("secret:kept")
async def test_tokens_let_in_and_the_log_shows_none(tmp_path: Path) -> None:
    """In every dialect; a refused one is answered alike whatever is wrong with it, and the log says what."""
    good, expired = token(), token(claims(exp=int(time.time()) - 3600))
    forged, hmac = token(key=OTHER_KEY), token(header={"alg": "HS256"})
    async with issuing() as issuer, serve(tmp_path, accepting(issuer)) as service:
        await service.logged(r"jwks\.loaded keys=2 left_out=3")
        for client in CLIENTS.values():
            answer = await answered(service.port, client.request(), headers=bearer(good))
            assert answer.status == 200, client.name
            refusals = []
            for credential in (expired, forged, hmac, "x"):
                refused = await answered(service.port, client.request(), headers=bearer(credential))
                assert refused.headers["www-authenticate"].startswith("Bearer")
                refusals.append((refusal_of(refused, client.shape), bytes(refused.raw)))
            assert [status for (status, _), _ in refusals] == [401] * 4
            assert len({body for _, body in refusals}) == 1
        cookie = {"Cookie": f"__Host-streamsvc={good}", "Sec-Fetch-Site": "same-origin"}
        for headers, status in ((cookie, 200), ({"x-api-key": good}, 200), ({}, 401)):
            assert (await service.client.get("/v1/models", headers=headers)).status_code == status
        for reason in ("expired", "signature", "algorithm", "not_a_token"):
            await service.logged(f"code=unauthorized .* credential=invalid reason={reason}")
        assert issuer.requests == 1
        assert await service.terminate() == 0
    for credential in (good, expired, forged, hmac):
        assert not any(part in service.output for part in credential.split("."))


@pytest.mark.promise("input:clear-error")
async def test_service_starts_without_its_issuer(tmp_path: Path) -> None:
    async with issuing() as issuer:
        issuer.answer = response(b"", "500 Internal Server Error")
        async with serve(tmp_path, accepting(issuer)) as service:
            await service.logged(r"jwks\.failed reason=status_500 setting=jwt\.jwks_url")
            assert await service.is_ready()
            refused = await service.client.get("/v1/models", headers=bearer(token()))
            code = refused.json()["error"]["code"]
            assert (refused.status_code, code) == (503, "issuer_unavailable")
            assert refused.headers["retry-after"]
            assert refused.headers["x-should-retry"] == "true"
            page = {"Cookie": f"__Host-streamsvc={token()}", "Sec-Fetch-Site": "same-origin", "Accept": "text/event-stream"}  # fmt: skip
            for target in ("/stream-ai?prompt=hi", f"/v1/generations/{new_id()}/events"):
                asked = await service.client.get(target, headers=page)
                assert (asked.status_code, asked.headers["content-type"][:17]) == (
                    200,
                    "text/event-stream",
                )
                assert re.search(r"^retry: ?\d+$", asked.text, re.MULTILINE)
                assert asked.text.endswith(": busy\n")
                plain = await service.client.get(
                    f"{target.partition('?')[0]}?format=plain", headers=page
                )
                assert (plain.status_code, plain.json()["code"]) == (503, "issuer_unavailable")
            service.assert_quiet("jwks.failed")


def settings_for(issuer: Issuer) -> Settings:
    known = JWTSettings(issuer=ISSUER, audience=AUDIENCE, jwks_url=issuer.url)
    fake = FakeSettings(reply="text", text="word " * 500, first_word_seconds=0, words_per_second=20)
    return Settings(jwt=known, providers={"fake": fake})


async def create(client: httpx2.AsyncClient, headers: Mapping[str, str]) -> str:
    made = await client.post("/v1/generations", json={"prompt": "hi"}, headers=headers)
    assert made.status_code == 201
    return f"/v1/generations/{made.json()['id']}"


@pytest.mark.promise("door:own")
async def test_generations_belong_to_the_principal_of_the_token() -> None:
    """Whatever token the principal has; a renewed one reads what the last one created."""
    async with issuing() as issuer, serving(settings_for(issuer), {}) as service:
        mine = await create(service.client, bearer(token(claims(jti="1"))))
        for subject, status in (("team-a", 200), ("team-b", 404)):
            renewed = bearer(token(claims(sub=subject, jti="2"), algorithm="RS256"))
            assert (await service.client.get(mine, headers=renewed)).status_code == status


@pytest.mark.promise("door:closed")
async def test_stream_is_cut_a_while_after_its_token_expired(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a `done`; its page can resume with a new token."""
    monkeypatch.setattr(jwt, "STREAM_SECONDS", 1.0)
    async with issuing() as issuer, serving(settings_for(issuer), {}) as service:
        old = bearer(token(claims(exp=int(time.time()))))  # within the leeway
        mine = await create(service.client, old)
        async with view(service.port, f"{mine}/events", headers=old) as answer:
            seen: set[str] = set()
            with anyio.fail_after(10), suppress(EOFError, ConnectionError):
                while "done" not in seen:
                    seen.add((await answer.event()).type)
            assert seen == {"start", "message"}


async def test_withdrawn_signing_key_counts_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for tokens that were seen before."""
    async with issuing() as issuer, serving(settings_for(issuer), {}) as service:
        credential = bearer(token())
        assert (await service.client.get("/v1/models", headers=credential)).status_code == 200
        issuer.answer = response(key_set(public(KEYS["RS256"])))
        monkeypatch.setattr("streamsvc.guard.jwks.UNKNOWN_SECONDS", 0.0)
        rotated = bearer(token(algorithm="ES384"))  # not accepted, so nothing is fetched
        assert (await service.client.get("/v1/models", headers=rotated)).status_code == 401
        unknown = bearer(token(header={"kid": "new"}))
        assert (await service.client.get("/v1/models", headers=unknown)).status_code == 401
        assert (await service.client.get("/v1/models", headers=credential)).status_code == 401
