"""What clients and browsers send, against `python -m streamsvc serve` as a process of its own."""

import gzip
import re
from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest

from support.asking import CLIENTS, answered, get, refusal_of
from support.eventstream import parse
from support.process import Running, serve, write_config

POSTS = [name for name, client in CLIENTS.items() if client.wraps is not None]
GETS = [name for name, client in CLIENTS.items() if client.wraps is None]

PAGE = {"Origin": "http://page.example:5173"}
REBOUND = {
    "Host": "evil.example:8000",
    "Origin": "http://evil.example:8000",
    "Sec-Fetch-Site": "same-origin",
}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """Give a service that repeats what it is asked; whatever it is sent, it complains of nothing."""
    directory = tmp_path_factory.mktemp("serve")
    echo = {"kind": "fake", "reply": "echo", "words_per_second": 0, "first_word_seconds": 0}
    write_config(directory, {"providers.fake": echo})
    async with serve(directory, {}) as running:
        yield running
        assert await running.terminate() == 0
        running.assert_quiet()


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("name", POSTS)
async def test_deep_nesting_is_the_clients_mistake(service: Running, name: str) -> None:
    client = CLIENTS[name]
    for raw in (b'{"x":' + b"[" * 200_000, b'{"messages":[{"x":' + b'{"a":' * 100_000):
        answer = await answered(service.port, client.request(), raw=raw)
        assert refusal_of(answer, client.shape)[0] in {400, 422}


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("name", POSTS)
async def test_a_compressed_body_is_refused(service: Running, name: str) -> None:
    client = CLIENTS[name]
    for encoding in ("gzip", "br"):
        answer = await answered(
            service.port,
            client.request(),
            headers={"Content-Encoding": encoding},
            raw=gzip.compress(b"{}"),
        )
        assert refusal_of(answer, client.shape)[0] == 415


@pytest.mark.parametrize("name", POSTS)
async def test_half_a_character_is_answered(service: Running, name: str) -> None:
    """Written as an escape, which is legal JSON."""
    client = CLIENTS[name]
    turn = {"role": "user", "content": "\ud83d", "parts": [{"type": "text", "text": "\ud83d"}]}
    match client.wraps:
        case "native":
            request = client.request(prompt="\ud83d")
        case "openai":
            request = client.request(messages=[{"role": "user", "content": "\ud83d"}])
        case _:
            del turn["content"]
            request = client.request(messages=[turn])
    answer = await answered(service.port, request)
    assert answer.status == 200
    assert "\ufffd" in bytes(answer.raw).decode()


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("name", CLIENTS)
async def test_a_rebound_name_gets_nothing(service: Running, name: str) -> None:
    client = CLIENTS[name]
    answer = await answered(service.port, client.request(), headers=REBOUND)
    assert refusal_of(answer, client.shape)[0] == 421
    assert b"server.hosts" in answer.raw
    line = (
        r"request\.refused status=421 code=host_refused .* host=evil\.example setting=server\.hosts"
    )
    await service.logged(line)
    assert len(re.findall(line, service.output)) == 1


async def test_hosts_of_the_environment_are_served(tmp_path: Path) -> None:
    async with serve(tmp_path, {"SERVER__HOSTS": "evil.example, *.chat.example"}) as service:
        for host, status in (
            ("evil.example:8000", 200),
            ("a.chat.example", 200),
            ("localhost:1", 200),
            ("chat.example", 421),
        ):
            answer = await answered(service.port, get("/readyz"), headers={"Host": host})
            assert answer.status == status, host
        assert await service.terminate() == 0


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("name", CLIENTS)
async def test_a_page_of_another_origin_leaves_a_line(service: Running, name: str) -> None:
    client = CLIENTS[name]
    answer = await answered(service.port, client.request(), headers=PAGE)
    assert refusal_of(answer, client.shape)[0] == 403
    assert b"http://page.example:5173" in answer.raw
    line = (
        r"status=403 code=origin_refused .* origin=http://page\.example:5173 setting=cors\.origins"
    )
    await service.logged(line)
    assert len(re.findall(line, service.output)) == 1


@pytest.mark.promise("resume:never-regenerate")
@pytest.mark.parametrize("name", GETS)
async def test_a_prefetch_creates_nothing(service: Running, name: str) -> None:
    client = CLIENTS[name]
    before = service.output.count("generation.finished")
    for purpose in ("prefetch", "prefetch;prerender"):
        answer = await answered(service.port, client.request(), headers={"Sec-Purpose": purpose})
        assert refusal_of(answer, client.shape) == (503, "prefetch_refused")
    assert (await service.client.get("/readyz")).json()["generations"] == 0
    assert service.output.count("generation.finished") == before


@pytest.mark.promise("resume:no-gap")
async def test_the_parameter_of_the_polyfill_resumes(service: Running) -> None:
    whole = parse(bytes((await answered(service.port, get("/stream-ai?prompt=a+b+c"))).raw))
    cursor = whole[1].last_event_id
    rest = await answered(service.port, get(f"/stream-ai?prompt=a+b+c&lastEventId={cursor}"))
    assert [event.last_event_id for event in parse(bytes(rest.raw))] == [
        event.last_event_id for event in whole[2:]
    ]
    end = await answered(service.port, get(f"/stream-ai?lastEventId={whole[-1].last_event_id}"))
    assert end.status == 204


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("base", ["", "/v1/v1", "/openai/v1"])
async def test_openais_client_says_that_its_base_url_is_wrong(service: Running, base: str) -> None:
    """An exception's text is all that most programs show."""
    url = f"http://127.0.0.1:{service.port}{base}"
    async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:
        with pytest.raises(openai.NotFoundError, match="base_url must end in /v1"):
            await client.chat.completions.create(
                model="fake", messages=[{"role": "user", "content": "hi"}]
            )
        with pytest.raises(openai.NotFoundError, match="POST /v1/chat/completions"):
            await client.responses.create(model="fake", input="hi")


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("name", ["tools", "response_format", "top_p", "n", "reasoning_effort"])
async def test_openais_client_names_the_parameter(service: Running, name: str) -> None:
    values = {"tools": [{}], "response_format": {"type": "json_object"}, "top_p": 0.5, "n": 2}
    url = f"http://127.0.0.1:{service.port}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:
        with pytest.raises(openai.BadRequestError, match=f"Unsupported parameter: '{name}'"):
            await client.chat.completions.create(
                model="fake",
                messages=[{"role": "user", "content": "hi"}],
                extra_body={name: values.get(name, "low")},
            )


@pytest.mark.promise("secret:kept")
async def test_what_is_refused_is_logged_without_what_it_says(service: Running) -> None:
    for target in (
        "/stream?prompt=xyzzy-plugh",
        "/stream-ai?xyzzy-plugh=1",
        "/stream-ai/xyzzy-plugh%20xyzzy",
        f"/stream-ai?prompt={'xyzzy-plugh' * 6500}",
    ):
        assert (await answered(service.port, get(target))).status in {404, 414, 422}
    await service.logged(r"request\.refused status=404 code=not_found method=GET path=/stream\n")
    await service.logged(r"request\.refused status=404 .* path=/stream-ai/\*\n")
    await service.logged(r"request\.refused status=422 .* path=/stream-ai\n")
    assert "xyzzy" not in service.output
