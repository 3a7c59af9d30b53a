"""OpenAI's and Gemini's adapters in `python -m streamsvc serve`, in its own process."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import anyio
import pytest

from support.asking import CLIENTS, TEXT, answered, sent
from support.eventstream import parse
from support.native import text_of
from support.process import Running, serve, write_config
from support.stage import OTHER_KIND, WIRES
from support.transcript import assert_is_transcript
from support.upstreams import (
    CLOSE,
    HOLD,
    Script,
    Upstream,
    finish,
    reasoning,
    status,
    text,
    upstream,
)

WORDS = ["Words, ", '"quotes", ', "é😀\r", "\n\u2028 and ", "the ", "end."]
KEY = "key-of-the-test"
STREAMS = [name for name in CLIENTS if name != "openai-whole"]

WELL: Script = (reasoning("Let me ", "think."), text(*WORDS), finish())
HELD: Script = (reasoning("Let me ", "think."), text(*WORDS[:3]), HOLD)


@dataclass(frozen=True)
class Stage:
    """A process, and its upstreams by kind."""

    process: Running
    apis: dict[str, Upstream]

    @property
    def port(self) -> int:
        return self.process.port


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    directory = tmp_path_factory.mktemp("serve")
    async with upstream() as openai, upstream() as gemini:
        apis = {"openai": openai, "gemini": gemini}
        urls = {"openai": f"{openai.url}/v1", "gemini": gemini.url}
        usual = {"model": "test", "api_key_env": "TEST_KEY", "backoff_seconds": 0.01}
        circuit = {"circuit_failures": 0, "attempts": 2}
        entries = {
            f"providers.{kind}": {"kind": kind, "base_url": url, **usual, **circuit}
            for kind, url in urls.items()
        }
        for kind, other in OTHER_KIND.items():
            helped = {**entries[f"providers.{kind}"], "fallbacks": [other]}
            entries[f"providers.{kind}_helped"] = helped
        write_config(directory, entries)
        async with serve(directory, {}, environ={"TEST_KEY": KEY}) as running:
            yield Stage(running, apis)
            assert await running.terminate() == 0


@pytest.fixture
def stage(shared: Stage) -> Iterator[Stage]:
    """Yield the module's process; its warnings are about failed calls, and its log has no key."""
    since = len(shared.process.output)
    yield shared
    shared.process.assert_quiet(r"call\.failed ", since=since)
    assert KEY not in shared.process.output


@pytest.mark.promise("provider:swap")
@pytest.mark.parametrize("kind", WIRES)
@pytest.mark.parametrize("name", CLIENTS)
async def test_answer_matches_its_transcript(stage: Stage, name: str, kind: str) -> None:
    client = CLIENTS[name]
    stage.apis[kind].script(WELL)
    answer = await answered(stage.port, client.request(kind))
    assert answer.is_whole
    assert_is_transcript(bytes(answer.raw), f"serve/{client.transcript}-by-{kind}")
    assert KEY in str(stage.apis[kind].calls[-1].headers)


@pytest.mark.promise("cancel:disconnect")
@pytest.mark.parametrize("kind", WIRES)
@pytest.mark.parametrize("name", STREAMS)
async def test_leaving_closes_the_call(stage: Stage, name: str, kind: str) -> None:
    api = stage.apis[kind]
    api.script(HELD)
    request = CLIENTS[name].request(kind, chat=f"{name} {kind}", **no_grace(name))
    async with sent(stage.port, request) as answer:
        await answer.raw_until("é😀".encode())
    with anyio.fail_after(10):
        await api.calls[-1].closed.wait()


def no_grace(name: str) -> dict[str, object]:
    """Return the fields of a chat that will not resume."""
    return {"grace_seconds": 0} if name == "ai-sdk" else {}


@pytest.mark.promise("cancel:stop")
@pytest.mark.parametrize("kind", WIRES)
@pytest.mark.parametrize("name", STREAMS)
async def test_stop_closes_the_call(stage: Stage, name: str, kind: str) -> None:
    api = stage.apis[kind]
    api.script(HELD)
    async with sent(stage.port, CLIENTS[name].request(kind)) as answer:
        await answer.raw_until("é😀".encode())
        generation = answer.headers["x-generation-id"]
        stopped = await stage.process.client.post(f"/v1/generations/{generation}/stop")
        assert stopped.json()["outcome"] == "client_stop"
        with anyio.fail_after(10):
            await api.calls[-1].closed.wait()


FAULTS: dict[str, Script] = {
    "unavailable": (status(503),),
    "limited": (status(429),),
    "closed": (CLOSE,),
    "cut": (reasoning("Let me "), text(*WORDS[:2]), CLOSE),
}


@pytest.mark.promise("upstream:rescue")
@pytest.mark.parametrize("kind", WIRES)
@pytest.mark.parametrize("fault", FAULTS)
async def test_call_that_fails_once_is_retried(stage: Stage, fault: str, kind: str) -> None:
    stage.apis[kind].script(FAULTS[fault], WELL)
    answer = await answered(stage.port, CLIENTS["native"].request(kind))
    events = parse(bytes(answer.raw))
    assert text_of(events) == TEXT
    assert events[-1].json["status"] == "completed"


@pytest.mark.promise("upstream:rescue")
@pytest.mark.parametrize("kind", WIRES)
@pytest.mark.parametrize("fault", FAULTS)
async def test_call_that_keeps_failing_goes_to_the_fallback(
    stage: Stage, fault: str, kind: str
) -> None:
    stage.apis[kind].script(FAULTS[fault])
    stage.apis[OTHER_KIND[kind]].script(WELL)
    answer = await answered(stage.port, CLIENTS["native"].request(f"{kind}_helped"))
    events = parse(bytes(answer.raw))
    assert text_of(events) == TEXT
    assert events[-1].json["provider"] == OTHER_KIND[kind]


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("kind", WIRES)
async def test_refused_key_is_logged_with_the_setting(stage: Stage, kind: str) -> None:
    stage.apis[kind].script((status(401),))
    since = len(stage.process.output)
    answer = await answered(stage.port, CLIENTS["native"].request(kind))
    *_, done = parse(bytes(answer.raw))
    assert done.json["error"]["code"] == "provider_auth"
    await stage.process.logged(f"provider={kind} .*code=provider_auth", since=since)
    assert "api_key_env" in stage.process.output[since:]
