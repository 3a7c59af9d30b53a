"""`/operations`: who may look at it, and what its state says."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

import streamsvc.web.operations_page
from conftest import Serve
from streamsvc.config.settings import MetricsSettings, PlaygroundSettings, Settings
from streamsvc.telemetry.peers import Peers
from streamsvc.web.operations_page import QUESTION, SHARED
from streamsvc.web.page_files import CONTENT_SECURITY_POLICY
from support.native import at_once
from support.service import serving
from support.upstreams import OPENAI, status, upstream

KEY = "a-key-of-16-chars"
STATIC = Path(streamsvc.web.operations_page.__file__).with_name("operator_static")
FILES = sorted(path.name for path in STATIC.iterdir())
PROXIED = {"X-Forwarded-For": "192.0.2.1"}


async def state(client: httpx2.AsyncClient, **headers: str) -> dict[str, Any]:
    answer = await client.get("/operations/state", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.promise("door:closed")
@pytest.mark.parametrize("access", ["loopback", "open"])
async def test_state_is_for_programs_on_this_machine(serve: Serve, access: Any) -> None:
    """Also if the figures are open: here, generations have names, which is all one needs to read them."""
    service = await serve(Settings(metrics=MetricsSettings(access=access)))
    assert (await service.client.get("/operations", headers=PROXIED)).status_code == 200
    assert (await service.client.get("/operations/state")).status_code == 200
    refused = await service.client.get("/operations/state", headers=PROXIED)
    assert (refused.status_code, refused.json()["code"]) == (403, "operators_only")


@pytest.mark.promise("door:closed")
async def test_state_asks_for_the_operators_key() -> None:
    settings = Settings(metrics=MetricsSettings(access="key"))
    async with serving(settings, {settings.metrics.key_env: KEY}) as service:
        for headers, expected in (
            ({}, 401),
            ({"Authorization": "Bearer wrong"}, 401),
            ({"Authorization": f"Bearer {KEY}", **PROXIED}, 200),
        ):
            answer = await service.client.get("/operations/state", headers=headers)
            assert answer.status_code == expected
        assert (await service.client.get("/operations")).status_code == 200


async def test_page_that_is_off_is_not_there(serve: Serve) -> None:
    service = await serve(Settings(metrics=MetricsSettings(access="off")))
    for path in ("/operations", "/operations/state", "/operations/page/operations.js"):
        assert (await service.client.get(path)).status_code == 404


async def test_page_needs_no_playground(serve: Serve) -> None:
    service = await serve(Settings(playground=PlaygroundSettings(enabled=False)))
    names = sorted({*FILES, *SHARED} - {"index.html"})
    for path in ("/operations", *(f"/operations/page/{name}" for name in names)):
        answer = await service.client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert answer.headers["cache-control"] == "no-cache"
    for name in ("index.html", "playground.js", "../app.py", "%2e%2e/app.py"):
        assert (await service.client.get(f"/operations/page/{name}")).status_code == 404


def test_files_are_under_40_kb_and_name_no_other_origin() -> None:
    texts = {name: (STATIC / name).read_text(encoding="utf-8") for name in FILES}
    assert sum(len(one.encode()) for one in texts.values()) < 40_000
    for one in texts.values():
        assert {*re.findall(r"(?:https?:)?//[\w.-]+\.\w+", one)} <= {"http://www.w3.org"}


async def test_state_of_an_idle_service_is_zero(serve: Serve) -> None:
    service = await serve(Settings(providers={"fake": at_once("One.")}))
    seen = await state(service.client)
    (worker,) = seen["workers"]
    assert (worker["name"], worker["answers"]) == ("1", True)
    assert seen["generations"] == {"used": 0, "limit": Settings().limits.max_generations}
    assert seen["first_token"]["upstream"]["median"] is None
    (entry,) = seen["providers"]
    assert (entry["name"], entry["ready"], entry["circuits"]) == ("fake", True, [])
    for name in ("streams", "resumes", "refusals"):
        assert seen[name] == {}
    for name in ("failures", "drops", "reloads", "store"):
        assert seen[name] == []


async def test_state_says_which_provider_fails_and_what_viewers_got() -> None:
    async with upstream(*[status(500)] * 2) as api:
        failing = OPENAI.entry(api.url, attempts=1, circuit_failures=2, fallbacks=("fake",))
        fake = at_once("One two.")
        settings = Settings(provider="main", providers={"main": failing, "fake": fake})
        async with serving(settings, {"OPENAI_API_KEY": "sk-test"}) as service:
            client = service.client
            ids = []
            for _ in range(3):
                created = await client.post("/v1/generations", json={"prompt": "hi"})
                ids.append(created.json()["id"])
                events = f"/v1/generations/{ids[-1]}/events"
                answer = await client.get(events)
                first = re.findall(r"^id: (\S+)", answer.text, re.MULTILINE)[0]
                resumed = await client.get(events, headers={"Last-Event-ID": first})
                assert resumed.status_code == 200
            assert (await client.post("/v1/generations", json={})).status_code == 422
            seen = await state(client)
    main, fake = seen["providers"]
    assert main["failed_calls"] == {"provider_unavailable": 2}
    (circuit,) = main["circuits"]
    assert (circuit["state"], circuit["failures"]) == ("open", 2)
    assert circuit["code"] == "provider_unavailable"
    assert seen["at"] - 60 < circuit["since"] <= seen["at"]
    assert 0 < circuit["skipped_seconds"] <= failing.circuit_seconds
    assert fake["outcomes"] == {"completed": 3}
    assert fake["first_token"]["median"] > 0
    assert [it["generation"] for it in seen["failures"]] == ids[1::-1]
    assert {it["worker"] for it in seen["failures"]} == {"1"}
    assert seen["streams"] == {"finished": 6}
    assert seen["resumes"] == {"resumed": 3}
    assert seen["refusals"] == {"invalid_field": 1}
    assert sum(seen["first_token"]["upstream"]["counts"]) == 3
    assert sum(seen["first_token"]["viewers"]["counts"]) >= 3


async def test_figures_survive_a_reload_which_is_listed(serve: Serve) -> None:
    settings = Settings(providers={"fake": at_once("One.")})
    service = await serve(settings)
    await service.client.get("/stream-ai?prompt=hi")
    await service.app.reload(
        msgspec.structs.replace(settings, playground=PlaygroundSettings(enabled=False))
    )
    seen = await state(service.client)
    assert seen["streams"] == {"finished": 1}
    (reload,) = seen["reloads"]
    assert (reload["worker"], reload["changed"]) == ("1", ["playground.enabled"])


async def test_worker_of_another_version_counts_as_silent(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While workers are replaced, an old one may answer what this one cannot read."""
    service = await serve(Settings(providers={"fake": at_once("One.")}))

    async def ask(peers: Peers, question: str) -> Mapping[str, bytes | None]:
        return {"1": await peers.answers[question]("1"), "1.0": b'{"worker":1}', "2": None}

    monkeypatch.setattr(Peers, "ask", ask)
    seen = await state(service.client)
    answering = {it["name"]: it["answers"] for it in seen["workers"]}
    assert answering == {"1": True, "1.0": False, "2": False}
    assert QUESTION == "operations"
