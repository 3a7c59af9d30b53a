"""Refusals of providers through `streamsvc serve` as a process, as OpenAI's client and a page see them."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam

from support.eventstream import view
from support.process import Running, serve
from support.upstreams import (
    Script,
    Upstream,
    finish,
    frame,
    raw,
    status,
    text,
    upstream,
)

ASKED: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "sesame"}]
KEY = "sk-a-key-that-nobody-may-see"
WELL: Script = (text("It ", "depends."), finish())


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def api() -> AsyncIterator[Upstream]:
    async with upstream(*WELL) as api:
        yield api


@asynccontextmanager
async def running(directory: Path, api: Upstream, **settings: str) -> AsyncIterator[Running]:
    """Serve an entry of each kind with the upstream *api*, and `saved`, which has a fallback."""
    entries = {
        "PROVIDERS__OPENAI__BASE_URL": f"{api.url}/v1",
        "PROVIDERS__GEMINI__BASE_URL": f"{api.url}/v1beta",
        "PROVIDERS__OPENAI__BACKOFF_SECONDS": "0.01",
        "PROVIDERS__GEMINI__BACKOFF_SECONDS": "0.01",
        **settings,
    }
    environ = {"OPENAI_API_KEY": KEY, "GEMINI_API_KEY": KEY}
    async with serve(directory, entries, environ=environ) as service:
        yield service


@pytest.fixture(scope="module")
async def refusing(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[Running, Upstream]]:
    """One service for many refusals: their number opens no circuit."""
    no_circuits = {f"PROVIDERS__{name}__CIRCUIT_FAILURES": "0" for name in ("OPENAI", "GEMINI")}
    async with upstream(*WELL) as api:
        directory = tmp_path_factory.mktemp("refusing")
        async with running(directory, api, **no_circuits) as service:
            yield service, api


def client_of(service: Running) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{service.port}/v1", api_key="none", max_retries=2
    )


async def refusal_of(service: Running, model: str, *, stream: bool) -> openai.APIStatusError:
    """Ask as a front end does; return the exception of its client."""
    async with client_of(service) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(model=model, messages=ASKED, stream=stream)
    return caught.value


@pytest.mark.promise("upstream:rescue")
@pytest.mark.parametrize("stream", [False, True])
async def test_openais_client_raises_for_a_filtered_prompt(
    tmp_path: Path, api: Upstream, *, stream: bool
) -> None:
    """This holds for both APIs, and no other provider is called."""
    blocked = raw(frame({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}))
    refused = status(400, {"error": {"code": "content_filter", "message": f"No: {KEY}"}})
    async with running(tmp_path, api, PROVIDERS__OPENAI__FALLBACKS="gemini") as service:
        for model, script in (("openai", (refused,)), ("gemini", (blocked,))):
            before = len(api.calls)
            api.script(script)
            error = await refusal_of(service, model, stream=stream)
            assert isinstance(error, openai.BadRequestError)
            assert (error.code, error.type) == ("content_filter", "invalid_request_error")
            assert len(api.calls) == before + 1
        service.assert_quiet()
    assert KEY not in service.output


@pytest.mark.promise("upstream:rescue")
@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("script", "exception", "code", "setting"),
    [
        ((status(402),), openai.InternalServerError, "provider_quota", "api_key_env"),
        ((status(429, {"error": {"code": "insufficient_quota"}}),), openai.InternalServerError,
         "provider_quota", "api_key_env"),
        ((status(307, headers={"Location": "/elsewhere"}),), openai.InternalServerError,
         "provider_misconfigured", "base_url"),
        ((status(421),), openai.InternalServerError, "provider_misconfigured", "base_url"),
        ((status(404, {"detail": "Not Found"}),), openai.InternalServerError,
         "provider_misconfigured", "base_url"),
        ((status(400, {"error": {"message": "Invalid model: x"}}),), openai.NotFoundError,
         "model_not_found", "model"),
        ((status(413),), openai.BadRequestError, "context_length_exceeded", ""),
        ((raw(b"event: error\ndata: prompt is too long\n\n"),),
         openai.BadRequestError, "context_length_exceeded", ""),
    ],
    ids=["402", "insufficient_quota", "307", "421", "404 of a path", "model", "413", "event"],
)  # fmt: skip
async def test_client_and_log_each_get_their_part_of_a_refusal(
    refusing: tuple[Running, Upstream],
    script: Script,
    exception: type[openai.APIStatusError],
    code: str,
    setting: str,
) -> None:
    """The client gets a status, the log names the setting, and the provider is called once."""
    service, api = refusing
    for model in ("openai", "gemini"):
        before, since = len(api.calls), len(service.output)
        api.script(script)
        error = await refusal_of(service, model, stream=True)
        assert (type(error), error.code) == (exception, code)
        assert len(api.calls) == before + 1
        pattern = rf"call\.failed [^\n]*provider={model} [^\n]*\n"
        line = await service.logged(pattern, since=since)
        setting_of_line = re.search(rf"setting=providers\.{model}\.(\w+)\n", line[0])
        assert (setting_of_line and setting_of_line[1]) == (setting or None)


@pytest.mark.promise("upstream:rescue")
async def test_a_refusal_caused_by_the_entry_leads_to_the_fallback(
    tmp_path: Path, api: Upstream
) -> None:
    """A page sees that another provider is called, and why."""
    refusals = {
        402: "provider_quota",
        307: "provider_misconfigured",
        413: "context_length_exceeded",
    }
    async with running(tmp_path, api, PROVIDERS__OPENAI__FALLBACKS="gemini") as service:
        for code, reason in refusals.items():
            api.script((status(code),), WELL)
            async with view(service.port, "/stream-ai?prompt=sesame&provider=openai") as answer:
                events = [event.json for event in await answer.events()]
            assert [event["reason"] for event in events if event["type"] == "status"] == [reason]
            assert (events[-1]["status"], events[-1]["provider"]) == ("completed", "gemini")
    roots = {call.path.split("/")[1] for call in api.calls}
    assert roots == {"v1", "v1beta"}  # each as its `base_url` says
    assert "sesame" not in service.output
