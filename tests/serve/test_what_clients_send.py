"""Odd requests of clients and browsers to `python -m streamsvc serve` in its own process."""

import gzip
import re
from pathlib import Path

import openai
import pytest

from support.asking import CLIENTS, Client, answered, get, refusal_of
from support.eventstream import parse
from support.process import Running, serve
from support.shared import quiet_service, shared_process

POSTS = [name for name, client in CLIENTS.items() if client.wraps is not None]
GETS = [name for name, client in CLIENTS.items() if client.wraps is None]

PAGE = {"Origin": "http://page.example:5173"}
REBOUND = {
    "Host": "evil.example:8000",
    "Origin": "http://evil.example:8000",
    "Sec-Fetch-Site": "same-origin",
}


ECHO = {"kind": "fake", "reply": "echo", "words_per_second": 0, "first_word_seconds": 0}

process = shared_process({"providers.fake": ECHO})
service = quiet_service()


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("name", POSTS)
async def test_deep_nesting_is_a_client_error(service: Running, name: str) -> None:
    client = CLIENTS[name]
    for raw in (b'{"x":' + b"[" * 200_000, b'{"messages":[{"x":' + b'{"a":' * 100_000):
        answer = await answered(service.port, client.request(), raw=raw)
        assert refusal_of(answer, client.shape)[0] in {400, 422}


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("name", POSTS)
async def test_compressed_body_is_refused(service: Running, name: str) -> None:
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
async def test_lone_surrogate_is_answered(service: Running, name: str) -> None:
    """As an escape it is legal JSON."""
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


UNWELCOME = {
    "rebound name": (
        REBOUND,
        421,
        "server.hosts",
        r"status=421 code=host_refused .* host=evil\.example setting=server\.hosts",
    ),
    "page of another origin": (
        PAGE,
        403,
        "http://page.example:5173",
        r"status=403 code=origin_refused .* origin=http://page\.example:5173 setting=cors\.origins",
    ),
}
"""Headers, and their consequences: a status, a part of the answer and a line in the log."""


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("who", UNWELCOME)
async def test_stranger_is_refused_and_logged_once(service: Running, who: str, name: str) -> None:
    client = CLIENTS[name]
    headers, status, named, line = UNWELCOME[who]
    answer = await answered(service.port, client.request(), headers=headers)
    assert refusal_of(answer, client.shape)[0] == status
    assert named.encode() in answer.raw
    await service.logged(rf"request\.refused {line}")
    assert len(re.findall(line, service.output)) == 1


async def test_hosts_from_the_environment_are_served(tmp_path: Path) -> None:
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


async def answered_and_logged(service: Running, client: Client) -> None:
    """Have an answer, and wait for its line in the log, which comes after all earlier ones."""
    answer = await answered(service.port, client.request())
    await service.logged(f"generation.finished id={answer.headers['x-generation-id']}")


@pytest.mark.promise("resume:never-regenerate")
@pytest.mark.parametrize("name", GETS)
async def test_prefetch_creates_nothing(service: Running, name: str) -> None:
    client = CLIENTS[name]
    await answered_and_logged(service, client)
    before = service.output.count("generation.finished")
    for purpose in ("prefetch", "prefetch;prerender"):
        answer = await answered(service.port, client.request(), headers={"Sec-Purpose": purpose})
        assert refusal_of(answer, client.shape) == (503, "prefetch_refused")
    assert (await service.client.get("/readyz")).json()["generations"] == 0
    await answered_and_logged(service, client)
    assert service.output.count("generation.finished") == before + 1


@pytest.mark.promise("resume:no-gap")
async def test_cursor_parameter_of_the_polyfill_resumes(service: Running) -> None:
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
async def test_openai_client_reports_a_wrong_base_url(service: Running, base: str) -> None:
    """Most programs show only the text of the exception."""
    url = f"http://127.0.0.1:{service.port}{base}"
    async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:
        with pytest.raises(openai.NotFoundError, match="base_url must end in /v1"):
            await client.chat.completions.create(
                model="fake", messages=[{"role": "user", "content": "hi"}]
            )
        with pytest.raises(openai.NotFoundError, match="POST /v1/chat/completions"):
            await client.responses.create(model="fake", input="hi")


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("name", ["n", "audio", "modalities", "web_search_options", "unheard_of"])
async def test_openai_client_names_the_unsupported_parameter(service: Running, name: str) -> None:
    values = {
        "n": 2,
        "audio": {"voice": "alloy"},
        "modalities": ["audio"],
        "web_search_options": {"a": 1},
    }
    url = f"http://127.0.0.1:{service.port}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:
        with pytest.raises(openai.BadRequestError, match=f"Unsupported parameter: '{name}'"):
            await client.chat.completions.create(
                model="fake",
                messages=[{"role": "user", "content": "hi"}],
                extra_body={name: values.get(name, "low")},
            )


@pytest.mark.promise("secret:kept")
async def test_refusal_is_logged_without_its_content(service: Running) -> None:
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
