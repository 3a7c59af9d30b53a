"""What `streamsvc doctor` says about keys and providers, with real servers in place of theirs."""

import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import Mapping
from importlib import import_module
from inspect import iscoroutinefunction

import pytest

from streamsvc.config.provider_settings import (
    KINDS,
    FakeSettings,
    GeminiSettings,
    OpenAISettings,
    ProviderSettings,
    UpstreamSection,
)
from streamsvc.config.settings import Settings
from streamsvc.doctor import providers
from streamsvc.doctor.clocks import Clocks
from streamsvc.doctor.findings import Finding
from streamsvc.doctor.providers import check_entry
from support.free_answers import NOT_FOUND, Answer, FreeAnswers, free_answers
from support.http_peer import listening
from support.redis_servers import free_port

KEY = "sk-planted-0123456789abcdefghijklmnop"
UNAUTHORIZED: Answer = 401, '{"error": {"code": "invalid_api_key", "message": "sk-planted"}}'
NO_MODEL: Answer = 404, '{"error": {"code": "model_not_found", "message": "no such model"}}'
MODELS: Answer = 200, '{"object": "list", "data": [{"id": "a"}, {"id": "m"}]}'
OTHERS: Answer = 200, '{"object": "list", "data": [{"id": "a"}]}'
CHECK_URL = "check providers.mine.base_url; that of most servers ends in /v1"
CHECK_MODEL = "check providers.mine.model, and whether the key may use the model"

pytestmark = pytest.mark.usefixtures("no_certificates")


async def found(
    entry: ProviderSettings,
    *,
    key: str | None = KEY,
    clocks: Clocks | None = None,
    is_chosen: bool = True,
) -> list[Finding]:
    """Return what is found about an entry; nothing of its key may be in that."""
    settings = Settings(
        provider="mine" if is_chosen else "fake", providers={**Settings().providers, "mine": entry}
    )
    environ = {"MINE_KEY": key} if key else {}
    findings = [*await check_entry("mine", settings, environ, clocks or Clocks())]
    assert "planted" not in str(findings)
    return findings


def openai(url: str, *, variable: str = "MINE_KEY") -> OpenAISettings:
    return OpenAISettings(model="m", base_url=url, api_key_env=variable)


@pytest.mark.parametrize(
    "kind", [name for name, it in KINDS.items() if issubclass(it, UpstreamSection)]
)
def test_every_kind_of_provider_can_be_asked(kind: str) -> None:
    assert iscoroutinefunction(import_module(f"streamsvc.providers.{kind}.reach").ask)


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("answer", "sentence", "advice"),
    [
        (UNAUTHORIZED, "the provider refuses the key", "check the key in MINE_KEY, and what it may do"),
        (NO_MODEL, "the provider does not know the model 'm'", CHECK_MODEL),
        ((404, ""), "this address has no such API", CHECK_URL),
        ((200, "<html>"), "this address has no such API", CHECK_URL),
        ((402, ""), "the service's quota with the provider is used up", "pay the account, or raise its limit"),
        ((503, ""), "the provider is not available", "try again, and look at the provider's status page"),
    ],
    ids=["key", "model", "path", "page", "quota", "down"],
)  # fmt: skip
async def test_refusal_names_what_to_change(answer: Answer, sentence: str, advice: str) -> None:
    async with free_answers({"GET /v1/models/m": answer}) as api:
        finding = (await found(openai(f"{api.url}/v1")))[-1]
    assert (finding.status, finding.advice) == ("fail", advice)
    assert finding.found.endswith(f"): {sentence}")


@pytest.mark.parametrize(
    ("answers", "status", "sentence"),
    [
        ({"GET /v1/models": MODELS}, "ok", "the key is accepted and the model 'm' is known"),
        ({"GET /v1/models": OTHERS}, "fail", "the provider does not know the model 'm'"),
        ({"GET /v1/models": UNAUTHORIZED}, "fail", "the provider refuses the key"),
        ({"GET /v1/models": (200, "{}")}, "warn", "the server's list of models cannot be read, so the model was not checked"),
        ({"POST /v1/chat/completions": (400, "{}")}, "warn", "the server lists no models, so the model was not checked"),
        ({"POST /v1/chat/completions": UNAUTHORIZED}, "fail", "the provider refuses the key"),
        ({"GET /v1/models/m": NO_MODEL, "GET /v1/models": NOT_FOUND}, "fail", "the provider does not know the model 'm'"),
    ],
)  # fmt: skip
async def test_server_without_single_models_is_asked_otherwise(
    answers: Mapping[str, Answer], status: str, sentence: str
) -> None:
    async with free_answers(answers) as api:
        finding = (await found(openai(f"{api.url}/v1")))[-1]
    assert finding.status == status
    assert finding.found.endswith(sentence)


async def test_rate_limit_is_only_a_warning() -> None:
    async with free_answers({"GET /v1/models/m": (429, "")}) as api:
        assert (await found(openai(f"{api.url}/v1")))[-1].status == "warn"


async def test_entry_that_no_default_request_reaches_only_warns() -> None:
    async with free_answers({"GET /v1/models/m": UNAUTHORIZED}) as api:
        assert (await found(openai(f"{api.url}/v1"), is_chosen=False))[-1].status == "warn"


def gemini(api: FreeAnswers) -> GeminiSettings:
    return GeminiSettings(model="models/g", base_url=f"{api.url}/v1beta", api_key_env="MINE_KEY")


@pytest.mark.parametrize(
    ("answer", "status", "sentence"),
    [
        ((200, '{"name": "models/g"}'), "ok", "the key is accepted and the model 'models/g' is known"),
        ((400, '{"error": {"code": 400, "details": [{"reason": "API_KEY_INVALID"}]}}'), "fail", "the provider refuses the key"),
        ((404, '{"error": {"code": 404, "message": "models/g is not found for API version v1beta"}}'), "fail", "the provider does not know the model 'models/g'"),
        ((200, "<html>"), "fail", "this address has no such API"),
    ],
)  # fmt: skip
async def test_gemini_is_asked_for_its_model(answer: Answer, status: str, sentence: str) -> None:
    async with free_answers({"GET /v1beta/models/g": answer}) as api:
        finding = (await found(gemini(api)))[-1]
    assert finding.status == status
    assert finding.found.endswith(sentence)
    assert f"x-goog-api-key: {KEY}" in api.requests[0].lower()


async def test_each_step_of_the_way_is_timed() -> None:
    async with free_answers({"GET /v1/models/m": (200, "{}")}) as api:
        finding = (await found(openai(f"{api.url}/v1")))[-1]
    place = (
        finding.found.partition(": ")[0]
        if "ms" in finding.found.partition(": ")[0]
        else finding.found
    )
    assert all(f"{step} " in place for step in ("DNS", "TCP", "answer"))
    assert "TLS" not in place


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("scheme", "host", "sentence"),
    [
        ("http", "127.0.0.1", "nothing answers there"),
        ("http", "no..name", "the name of the server is unknown"),
    ],
)
async def test_unreachable_provider_names_the_step(scheme: str, host: str, sentence: str) -> None:
    finding = (await found(openai(f"{scheme}://planted:planted@{host}:{free_port()}/v1")))[-1]
    assert finding.status == "fail"
    assert finding.found.endswith(sentence)
    assert "providers.mine.base_url" in finding.advice


@pytest.mark.promise("input:clear-error")
async def test_server_without_tls_fails_at_that_step() -> None:
    async def serve(reader: StreamReader, _writer: StreamWriter) -> None:
        await reader.read(1)

    async with listening(serve) as port:
        finding = (await found(openai(f"https://127.0.0.1:{port}")))[-1]
    assert finding.found.endswith("no TLS connection")
    assert "SSL_CERT_FILE" in finding.advice


async def test_server_that_hangs_up_sends_no_response() -> None:
    async with free_answers({}) as api:
        api.hangs_up = True
        finding = (await found(openai(api.url)))[-1]
    assert finding.found.endswith("the server sends no HTTP response")


@pytest.mark.promise("input:clear-error")
async def test_silent_server_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "REACH_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        finding = (await found(openai(url)))[-1]
    assert finding.status == "fail"
    assert finding.found.endswith("no end of the step answer within its time")


async def test_unusable_proxy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    finding = (await found(openai("http://upstream.test/v1")))[-1]
    assert finding.found.endswith("the environment's proxy opens no connection")


async def test_proxy_that_refuses_the_tunnel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async with free_answers({}) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        finding = (await found(openai("https://upstream.test/v1")))[-1]
    assert finding.found.endswith("the environment's proxy opens no connection")
    assert "https_proxy" in finding.advice


@pytest.mark.parametrize(
    ("entry", "key", "status", "sentence"),
    [
        (openai(""), None, "fail", "MINE_KEY is not set"),
        (openai("http://h"), "a b", "fail", "MINE_KEY has characters that no key has"),
        (openai("", variable="skPlantedkey0123"), None, "fail", "the variable in api_key_env is not set"),
    ],
)  # fmt: skip
async def test_key_that_cannot_be_used_is_not_sent(
    entry: OpenAISettings, key: str | None, status: str, sentence: str
) -> None:
    [finding] = await found(entry, key=key)
    assert (finding.status, finding.found) == (status, sentence)


async def test_entry_without_a_key_that_nothing_needs_is_ok() -> None:
    [finding] = await found(openai(""), key=None, is_chosen=False)
    assert finding.found == "MINE_KEY is not set; requests that name this entry are refused"
    assert finding.status == "ok"


async def test_fallback_without_its_key_is_a_warning() -> None:
    settings = Settings(providers={"fake": FakeSettings(fallbacks=("mine",)), "mine": openai("")})
    [finding] = await check_entry("mine", settings, {}, Clocks())
    assert (finding.status, finding.found) == (
        "warn",
        "MINE_KEY is not set, so the entry is no fallback",
    )


@pytest.mark.parametrize(
    ("entry", "key", "doubt"),
    [
        (openai(""), "AIzaSyPlanted", "looks like a key of Google"),
        (openai(""), "planted", "does not begin with sk-, as OpenAI's keys do"),
        (openai(""), "sk-planted", "is shorter than any key"),
        (openai("http://h"), "Bearer:planted", "begins with a quotation mark or with 'Bearer'"),
        (openai("http://h"), "short", ""),
        (GeminiSettings(model="m"), KEY, "looks like a key of OpenAI"),
        (GeminiSettings(model="m"), "AIzaSyPlanted0123456789abcdefghijklmnop", ""),
    ],
)  # fmt: skip
def test_key_of_another_shape_is_doubted(
    entry: OpenAISettings | GeminiSettings, key: str, doubt: str
) -> None:
    assert providers._doubt(entry, key) == doubt


async def test_doubtful_key_is_a_warning_and_tried_nevertheless() -> None:
    async with free_answers({"GET /v1/models/m": (200, "{}")}) as api:
        key, way = await found(openai(f"{api.url}/v1"), key="Bearer:planted")
    assert (key.status, way.status) == ("warn", "ok")


async def test_entry_that_needs_no_key_is_reached_without() -> None:
    async with free_answers({"GET /v1/models/m": (200, "{}")}) as api:
        key, way = await found(openai(f"{api.url}/v1", variable=""))
    assert key.found == "none is needed"
    assert way.found.endswith(": the model 'm' is known")
    assert "authorization" not in api.requests[0].lower()


@pytest.mark.parametrize(
    ("ahead", "status", "sentence"),
    [
        (90, "warn", " s ahead of ours"),
        (-90, "warn", " s behind ours"),
        (0, "ok", "agrees with mine"),
    ],
)
async def test_clock_is_compared_with_a_providers_date(
    ahead: float, status: str, sentence: str
) -> None:
    clocks = Clocks()
    async with free_answers({"GET /v1/models/m": (200, "{}")}, ahead=ahead) as api:
        await found(openai(f"{api.url}/v1"), clocks=clocks)
    assert clocks.finding().status == status
    assert clocks.finding().found.endswith(sentence)
