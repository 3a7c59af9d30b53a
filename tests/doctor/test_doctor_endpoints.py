"""What `streamsvc doctor` says about the issuer of tokens and the collector of traces."""

import pytest

from streamsvc.config.guard_settings import JWTSettings
from streamsvc.config.settings import Settings
from streamsvc.doctor.clocks import Clocks
from streamsvc.doctor.endpoints import check_collector, check_issuer
from streamsvc.doctor.findings import Finding
from support.free_answers import Answer, free_answers
from support.redis_servers import free_port


async def issuer(url: str, clocks: Clocks) -> Finding:
    jwt = JWTSettings(issuer="https://i.example", audience="a", jwks_url=url)
    [found] = await check_issuer(Settings(jwt=jwt), clocks)
    return found


@pytest.mark.parametrize(
    ("answer", "status", "sentence"),
    [
        ((200, '{"keys": [{"kty": "EC"}, {"kty": "RSA"}]}'), "ok", "publishes 2 keys"),
        ((200, '{"keys": []}'), "fail", "no key"),
        ((200, "<html>"), "fail", "something else than keys"),
        ((404, ""), "fail", "HTTP 404"),
    ],
)
async def test_issuer_must_publish_its_keys(answer: Answer, status: str, sentence: str) -> None:
    clocks = Clocks()
    async with free_answers({"GET /keys": answer}) as server:
        found = await issuer(f"{server.url}/keys", clocks)
    assert found.status == status
    assert found.found.endswith(sentence)
    assert clocks.finding().found == "agrees with the issuer"


async def test_issuer_that_is_away_fails() -> None:
    found = await issuer(f"http://127.0.0.1:{free_port()}/keys", Clocks())
    assert (found.status, found.found.rpartition(": ")[2]) == ("fail", "no answer")


async def test_issuer_behind_an_unusable_proxy_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    assert (await issuer("http://issuer.test/keys", Clocks())).status == "fail"


async def test_collector_must_take_connections() -> None:
    async with free_answers({}) as server:
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": server.url}
        [found] = await check_collector(environ)
        assert (found.status, found.found.rpartition(" at ")[0]) == ("ok", "the collector")
    [found] = await check_collector(
        {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    )
    assert found.status == "warn"


@pytest.mark.parametrize(
    "environ", [{}, {"OTEL_TRACES_EXPORTER": "console"}, {"OTEL_TRACES_EXPORTER": "none"}]
)
async def test_without_a_collector_nothing_is_asked(environ: dict[str, str]) -> None:
    assert await check_collector(environ) == []
