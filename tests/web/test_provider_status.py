"""`GET /v1/providers`: what operators see of the provider entries."""

from typing import get_args

import pytest

from conftest import Serve
from streamsvc.config.provider_settings import FaultName, OpenAISettings, ProviderSettings
from streamsvc.config.settings import Settings
from streamsvc.provider_errors import ProviderUnavailable
from support.asking import fetch
from support.doubles import ScriptedProvider
from support.eventstream import parse
from support.native import ASK, at_once


@pytest.mark.promise("upstream:rescue")
@pytest.mark.promise("secret:kept")
async def test_operators_see_fallbacks_and_open_circuits(serve: Serve) -> None:
    """They see neither a key nor the name of its variable."""
    keyless = OpenAISettings(model="gpt", api_key_env="A_KEY", base_url="http://127.0.0.1:9/v1")
    first = at_once("first", fallbacks=("keyless", "second"), circuit_failures=1, attempts=1)
    providers: dict[str, ProviderSettings]
    providers = {"fake": first, "second": at_once("second", allow_faults=True), "keyless": keyless}
    service = await serve(Settings(providers=providers))
    service.supervisor.entries._providers.client("fake").use(
        ScriptedProvider(ProviderUnavailable())
    )
    for reason in ("provider_unavailable", "circuit_open"):
        events = parse(bytes((await fetch(service.port, ASK)).raw))
        assert [event.type for event in events] == ["start", "status", "message", "done"]
        assert events[1].json["reason"] == reason
        assert events[-1].json["provider"] == "second"
    answer = await service.client.get("/v1/providers")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "default": "fake",
        "providers": [
            {
                "name": name,
                "kind": kind,
                "model": model,
                "ready": kind == "fake",
                "lacks": None if kind == "fake" else "key",
                "fallbacks": fallbacks,
                "circuit": circuit,
                "generations": 0,
                **({"faults": [*get_args(FaultName)]} if name == "second" else {}),
            }
            for name, kind, model, fallbacks, circuit in (
                ("fake", "fake", "words", ["keyless", "second"], "open"),
                ("second", "fake", "words", [], "closed"),
                ("keyless", "openai", "gpt", [], "closed"),
            )
        ],
    }
