"""Each refusal in the shape of each dialect, from `python -m streamsvc serve` in its own process."""

import re
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from support.asking import CLIENTS, Client, answered, entries, get, refusal_of, sent
from support.eventstream import Answer, parse
from support.process import Running, serve, write_config
from support.shared import quiet_service, shared_process
from support.transcript import assert_is_transcript

POSTS = [name for name, client in CLIENTS.items() if client.wraps is not None]
GETS = [name for name, client in CLIENTS.items() if client.wraps is None]
STREAMS = [name for name in CLIENTS if name != "openai-whole"]

INVALID = {"problem": 422, "openai": 400, "sentence": 422}
"""The status for an invalid field; OpenAI's clients expect 400."""

UNKNOWN = {
    "problem": (422, "invalid_field"),
    "openai": (404, "model_not_found"),
    "sentence": (422, None),
}


KEYLESS = {"kind": "openai", "model": "gpt-test", "api_key_env": "NO_SUCH_KEY"}
LIMITS = {"max_body_bytes": 20_000, "max_prompt_chars": 1000}

process = shared_process({**entries(), "providers.keyless": KEYLESS, "limits": LIMITS})
service = quiet_service()  # clients are at fault here, so it has nothing to warn of


def code(client: Client, name: str) -> str | None:
    """Return a code as a dialect reports it."""
    return None if client.shape == "sentence" else name


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("name", POSTS)
@pytest.mark.parametrize("raw", [b"", b"{", b"prompt=Hello", b"\xff"])
async def test_body_that_is_not_json_is_malformed(service: Running, name: str, raw: bytes) -> None:
    client = CLIENTS[name]
    answer = await answered(service.port, client.request(), raw=raw)
    assert refusal_of(answer, client.shape) == (400, code(client, "malformed_request"))


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("name", POSTS)
async def test_body_that_is_too_large_is_413(service: Running, name: str) -> None:
    client = CLIENTS[name]
    answer = await answered(service.port, client.request(), raw=b" " * 20_001)
    assert refusal_of(answer, client.shape) == (413, code(client, "too_large"))


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("name", CLIENTS)
async def test_unknown_field_is_refused_by_name(service: Running, name: str) -> None:
    client = CLIENTS[name]
    answer = await answered(service.port, client.request(no_such_field="1"))
    expected = INVALID[client.shape], code(client, "invalid_field")
    assert refusal_of(answer, client.shape) == expected
    assert b"no_such_field" in answer.raw


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("name", CLIENTS)
async def test_unknown_provider_is_refused(service: Running, name: str) -> None:
    client = CLIENTS[name]
    answer = await answered(service.port, client.request("nobody"))
    assert refusal_of(answer, client.shape) == UNKNOWN[client.shape]


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("name", CLIENTS)
async def test_provider_without_its_key_is_not_ready(service: Running, name: str) -> None:
    client = CLIENTS[name]
    answer = await answered(service.port, client.request("keyless"))
    assert refusal_of(answer, client.shape) == (503, code(client, "provider_not_ready"))
    assert b"NO_SUCH_KEY" not in answer.raw


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("name", CLIENTS)
async def test_page_of_another_origin_is_refused(service: Running, name: str) -> None:
    client = CLIENTS[name]
    headers = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    answer = await answered(service.port, client.request(), headers=headers)
    assert refusal_of(answer, client.shape) == (403, code(client, "origin_refused"))


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/nowhere", (404, "not_found")),
        ("/v1/generations", (405, "method_not_allowed")),
        (f"/v1/generations/gen_{'a' * 32}", (404, "generation_not_found")),
        (f"/v1/generations/gen_{'a' * 32}/events", (404, "generation_not_found")),
    ],
)
async def test_unknown_address_is_refused(
    service: Running, target: str, expected: tuple[int, str]
) -> None:
    assert refusal_of(await answered(service.port, get(target)), "problem") == expected


@pytest.mark.promise("input:clear-error")
async def test_unknown_model_is_not_found(service: Running) -> None:
    answer = await answered(service.port, get("/v1/models/nobody"))
    assert refusal_of(answer, "openai") == (404, "model_not_found")


def assert_is_busy(answer: Answer, client: Client, name: str) -> None:
    """Expect a refusal of new work; an `EventSource` gets a retry time instead."""
    if client.wraps is None and client.accept != "text/plain":
        assert answer.status == 200
        assert re.fullmatch(rb"retry: \d+\n: busy\n", answer.raw)
    else:
        assert refusal_of(answer, client.shape) == (503, code(client, name))
        assert int(answer.headers["retry-after"]) > 0


@pytest.mark.promise("input:clear-error")
async def test_limit_is_reported_in_each_dialect(tmp_path: Path) -> None:
    write_config(tmp_path, {**entries(), "limits": {"max_generations": 1}})
    async with serve(tmp_path, {}) as service:
        async with sent(service.port, CLIENTS["native"].request("held")) as held:
            await held.raw_until("é😀".encode())
            for client in CLIENTS.values():
                assert_is_busy(await answered(service.port, client.request()), client, "overloaded")
        assert await service.terminate() == 0
        service.assert_quiet()
    assert re.search("request.refused .*code=overloaded", service.output)


@pytest.mark.promise("drain:no-loss")
@pytest.mark.promise("end:exactly-one")
async def test_drain_is_reported_in_each_dialect(tmp_path: Path) -> None:
    """New work is refused; running answers end with the reason, or break off if a dialect has none."""
    write_config(tmp_path, entries())
    settings = {"SERVER__DRAIN_SECONDS": "3600"}
    async with serve(tmp_path, settings) as service, AsyncExitStack() as stack:
        held = {}
        for name in STREAMS:
            request = CLIENTS[name].request("held", chat=name)
            held[name] = await stack.enter_async_context(sent(service.port, request, seconds=40))
            await held[name].raw_until("é😀".encode())
        await service.drain()
        for client in CLIENTS.values():
            assert_is_busy(await answered(service.port, client.request()), client, "draining")
        service.process.terminate()  # a second signal ends the wait
        for name, answer in held.items():
            body = await answer.body()
            transcript = f"serve/{CLIENTS[name].transcript}-drained"
            assert_is_transcript(body, transcript, is_whole=answer.is_whole)
        assert await service.end() == 0
        service.assert_quiet()
    assert f"drain.finished cut={len(STREAMS)}" in service.output


@pytest.mark.promise("end:exactly-one")
async def test_failure_before_the_first_word_is_reported_everywhere(tmp_path: Path) -> None:
    """OpenAI's clients get a status, all others a part of the stream."""
    entry = {"kind": "fake", "fault": "unavailable", "attempts": 1, "circuit_failures": 0}
    write_config(tmp_path, {"providers.down": entry})
    async with serve(tmp_path, {}) as service:
        for client in CLIENTS.values():
            answer = await answered(service.port, client.request("down"))
            if client.shape == "openai":
                assert refusal_of(answer, "openai") == (503, "provider_unavailable")
            elif client.transcript == "plain":
                assert (answer.status, answer.is_whole) == (200, False)
            elif client.transcript == "ai-sdk":
                assert b'{"type":"error"' in answer.raw
            else:
                *_, done = parse(bytes(answer.raw))
                assert done.json["error"]["code"] == "provider_unavailable"
        assert await service.terminate() == 0
        service.assert_quiet(r"call\.failed .* provider=down ")
