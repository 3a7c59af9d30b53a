"""Who may read `/metrics`: programs on this machine, those with its key, everybody, or nobody."""

import logging

import pytest
from starlette.types import Scope

from conftest import Serve
from streamsvc.config.settings import CorsSettings, MetricsSettings, Settings
from streamsvc.errors import OperatorsOnly
from streamsvc.web.operators import LOCAL
from support.figures import scrape

KEY = "a-key-of-16-chars"


FORWARDING = (
    *("forwarded", "via", "x_forwarded_for", "x_forwarded", "x_forwarded_port", "x_real_ip"),
    *("x_original_forwarded_for", "x_envoy_external_address", "x_amzn_trace_id", "cf_ray"),
)


def scope(client: str | None = "127.0.0.1", **fields: str) -> Scope:
    """Return the scope of a request from an address, with header fields."""
    named = {"host": "127.0.0.1:8000", **fields}
    headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()]
    return {"type": "http", "client": client and (client, 1), "headers": headers}


@pytest.mark.promise("door:closed")
@pytest.mark.parametrize("client", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
def test_program_on_this_machine_may_read(client: str) -> None:
    LOCAL.check(scope(client))
    LOCAL.check(scope(client, host="localhost:8000"))
    LOCAL.check(scope(client, sec_fetch_site="none"))
    LOCAL.check(scope(client, origin="http://127.0.0.1:8000", sec_fetch_site="same-origin"))


@pytest.mark.promise("door:closed")
@pytest.mark.parametrize(
    "request_scope",
    [
        scope("192.0.2.1"),
        scope("::ffff:192.0.2.1"),
        scope("10.0.0.1"),
        scope(""),
        scope(None),
        scope("unix"),
        *(scope(**{name: "x"}) for name in FORWARDING),
        {**scope(), "http_version": "1.0"},  # nginx, as configured by default
        *(scope(host=it) for it in ("words.example.com", "192.0.2.1:8000", "")),
        scope(sec_fetch_site="cross-site"),
        scope(sec_fetch_site="same-site"),
        scope(origin="https://page.test"),
        scope(origin="null"),
    ],
)
def test_others_and_pages_from_elsewhere_may_not(request_scope: Scope) -> None:
    with pytest.raises(OperatorsOnly):
        LOCAL.check(request_scope)


async def test_refusal_names_the_setting(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    service = await serve(Settings(cors=CorsSettings(origins=("*",))))
    for headers in ({"X-Forwarded-For": "1.2.3.4"}, {"Origin": "https://page.test"}):
        refused = await service.client.get("/metrics", headers=headers)
        assert refused.status_code == 403
        assert refused.json()["code"] == "operators_only"
        assert "metrics.access" in refused.json()["detail"]
        assert "streamsvc_" not in refused.text
    assert "code=operators_only method=GET path=/metrics setting=metrics.access" in caplog.text


@pytest.mark.promise("door:closed")
async def test_key_opens_the_figures_and_nothing_else(serve: Serve) -> None:
    settings = Settings(metrics=MetricsSettings(access="key"))
    service = await serve(settings, {"METRICS_KEY": KEY})
    wrong = [{}, *({"Authorization": f"Bearer {it}"} for it in ("x", KEY[:-1], f"{KEY}x"))]
    for headers in wrong:
        refused = await service.client.get("/metrics", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
        assert refused.headers["www-authenticate"].startswith("Bearer")
    for headers in ({"Authorization": f"Bearer {KEY}"}, {"X-API-Key": KEY, "Via": "1.1 proxy"}):
        assert (await service.client.get("/metrics", headers=headers)).status_code == 200


async def test_open_to_everybody_or_not_there_at_all(serve: Serve) -> None:
    forwarded = {"X-Forwarded-For": "1.2.3.4"}
    service = await serve(Settings(metrics=MetricsSettings(access="open")))
    assert (await service.client.get("/metrics", headers=forwarded)).status_code == 200
    service = await serve(Settings(metrics=MetricsSettings(access="off")))
    assert (await service.client.get("/metrics")).status_code == 404


async def test_page_is_in_the_format_that_the_client_prefers(serve: Serve) -> None:
    service = await serve(Settings())
    prometheus = (
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
        "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
    )
    for accept, kind in (
        (prometheus, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("text/plain", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
    ):
        page = await service.client.get("/metrics", headers={"Accept": accept})
        assert page.headers["content-type"] == kind
        assert page.headers["vary"] == "Accept"
        assert page.text.endswith("# EOF\n") is kind.startswith("application")
        assert (await scrape(service.client, accept)).total("streamsvc_worker_up") == 1
    head = await service.client.head("/metrics")
    assert (head.status_code, head.content) == (200, b"")


async def test_state_of_the_engine_is_read_when_asked(serve: Serve) -> None:
    service = await serve(Settings())
    figures = await scrape(service.client)
    assert figures.total("streamsvc_provider_slots_limit", provider="fake") == 1000
    assert figures.total("streamsvc_provider_ready", provider="openai") == 0
    assert figures.by("state", "streamsvc_circuit_state", provider="fake") == {"closed": 1}
    assert figures.total("streamsvc_generations_limit") == 1000
    assert figures.total("streamsvc_log_limit_bytes") == 512_000_000
    assert not figures.samples("streamsvc_store_up")
