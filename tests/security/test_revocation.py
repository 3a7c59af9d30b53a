"""A key that is revoked ends what came with it, and nothing else."""

from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from streamsvc.config.settings import AISDKSettings, GenerationSettings
from support.api_keys import KeysFile, bearer, guarded, hurried_reads, keys_file
from support.asking import CLIENTS, Request, get, sent
from support.commands import run
from support.eventstream import Answer, view, wire
from support.log_lines import logged
from support.native import at_once, with_fake
from support.servers import SERVERS, Server
from support.service import serving

HELD = at_once("One two three four.", fault="stall", fault_after_words=3)
GRACE = GenerationSettings(grace_seconds=30, max_grace_seconds=60)
SLOW_WORDS = {
    "PROVIDERS__FAKE__REPLY": "text",
    "PROVIDERS__FAKE__TEXT": "word " * 1000,
    "PROVIDERS__FAKE__FIRST_WORD_SECONDS": "0",
    "PROVIDERS__FAKE__WORDS_PER_SECOND": "20",
    "SERVER__LOG_LEVEL": "debug",
}
BOUND_SECONDS = 20


keys = keys_file()
hurry = hurried_reads()


async def is_cut(answer: Answer) -> bool:
    """Read a response to its end; return whether it was cut, without a `done`."""
    with anyio.fail_after(BOUND_SECONDS):
        body = await answer.body()
    return not answer.is_whole and b"done" not in body and b"[DONE]" not in body


@pytest.mark.promise("door:closed")
async def test_streams_of_every_dialect_are_cut(keys: KeysFile) -> None:
    """Those of another key of the same principal go on; the generations end as without viewers."""
    key, second = keys.add("a"), keys.add("a")
    names = [name for name in CLIENTS if name != "openai-whole"]
    settings = guarded(with_fake(HELD, ai_sdk=AISDKSettings(grace_seconds=0)), keys)
    async with serving(settings, {}) as service, AsyncExitStack() as stack:

        async def opened(request: Request, key: str) -> Answer:
            request = Request(request.target, {**request.headers, **bearer(key)}, request.body)
            return await stack.enter_async_context(sent(service.port, request))

        answers = [await opened(CLIENTS[name].request(chat=name), key) for name in names]
        survivor = await opened(get("/stream-ai?prompt=hi"), second)
        for answer in (*answers, survivor):
            await answer.raw_until(b"three")
        whole = await stack.enter_async_context(wire(service.port))
        with logged() as log:
            keys.revoke(key)
            assert [await is_cut(answer) for answer in answers] == [True] * len(names)
            with anyio.fail_after(BOUND_SECONDS):
                (line,) = await log.wait("requests.cut")
                await service.until(lambda: service.supervisor.running == 1)
        assert line.endswith(f"count={len(names)}")
        assert service.supervisor.viewers == 1
        answer = await whole.ask("GET", "/v1/providers", bearer(second))
        assert answer.status == 200


@pytest.mark.promise("door:closed")
async def test_requests_that_have_no_answer_yet_are_cut(keys: KeysFile) -> None:
    """A chat completion that waits for its end, and a body that is still on its way."""
    key = keys.add("a")
    async with (
        serving(guarded(with_fake(HELD), keys), {}) as service,
        wire(service.port) as waiting,
        wire(service.port) as sending,
        anyio.create_task_group() as tasks,
    ):

        async def ask_for_all() -> None:
            request = CLIENTS["openai-whole"].request()
            body = b'{"model": "fake", "messages": [{"role": "user", "content": "hi"}]}'
            with pytest.raises((EOFError, ConnectionError)):
                await waiting.ask("POST", request.target, bearer(key), body)

        tasks.start_soon(ask_for_all)
        fields = "\r\n".join(f"{name}: {value}" for name, value in bearer(key).items())
        head = f"POST /v1/generations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n{fields}"
        with anyio.fail_after(BOUND_SECONDS):
            await service.until(lambda: service.supervisor.viewers == 1)
            await sending.send(f"{head}\r\n\r\n{{".encode())
            keys.revoke(key)
            with pytest.raises((EOFError, ConnectionError)):
                await sending.answer("POST")
            await service.until(lambda: service.supervisor.running == 0)
        assert len(service.log) == 1


@pytest.mark.promise("door:own")
async def test_answer_with_grace_goes_on_for_another_key_of_its_principal(keys: KeysFile) -> None:
    key, second = keys.add("a"), keys.add("a")
    settings = guarded(with_fake(HELD, generations=GRACE), keys)
    async with serving(settings, {}) as service:
        target = "/stream-ai?prompt=hi"
        async with view(service.port, target, headers=bearer(key)) as answer:
            cursor = (await answer.event()).last_event_id
            keys.revoke(key)
            assert await is_cut(answer)
        again = {"Last-Event-ID": cursor}
        refused = await service.client.get(target, headers={**bearer(key), **again})
        assert refused.status_code == 401
        async with view(service.port, target, headers={**bearer(second), **again}) as answer:
            await answer.raw_until(b"three")
        assert len(service.log) == 1


@pytest.mark.promise("door:closed")
async def test_kept_connection_is_cut_only_for_the_request_it_carries(keys: KeysFile) -> None:
    """A proxy sends requests of many principals over one connection."""
    key, other = keys.add("a"), keys.add("b")
    async with (
        serving(guarded(with_fake(HELD), keys), {}) as service,
        wire(service.port) as connection,
    ):
        await (await connection.ask("GET", "/v1/providers", bearer(key))).body()
        answer = await connection.ask("GET", "/stream-ai?prompt=hi", bearer(other))
        await answer.raw_until(b"two")
        with logged() as log, anyio.fail_after(BOUND_SECONDS):
            keys.revoke(key)
            await log.wait("key.revoked")
        await answer.raw_until(b"three")
        assert not any(line.startswith("requests.cut") for line in log.lines)


@pytest.mark.needs("curl")
@pytest.mark.promise("door:closed")
@pytest.mark.promise("secret:kept")
@pytest.mark.parametrize("server", SERVERS[:2], ids=lambda it: it.name)
async def test_real_service_cuts_a_revoked_key_within_a_second(
    tmp_path: Path, server: Server
) -> None:
    """The commands as an operator types them, with curl as the client."""
    made = [run(tmp_path, "key", "new", name, "--file", "keys.toml") for name in ("a", "b")]
    key, other = (result.stdout.strip() for result in made)
    (tmp_path / "config.toml").write_text("[auth]\nkeys_file = 'keys.toml'\n")
    async with server.run(tmp_path, SLOW_WORDS) as service:
        url = f"http://127.0.0.1:{service.port}"
        for path in ("/v1/models", "/v1/providers", "/stream-ai?prompt=hi"):
            assert (await service.client.get(path)).status_code == 401
        curl = [
            "curl",
            "-sSN",
            "--max-time",
            "60",
            "-H",
            f"X-API-Key: {key}",
            f"{url}/stream-ai?prompt=hi",
        ]
        with anyio.fail_after(60):
            async with (
                await anyio.open_process(curl) as client,
                view(service.port, "/stream-ai?prompt=hi", headers=bearer(other)) as survivor,
            ):
                assert client.stdout is not None
                await client.stdout.receive()
                await survivor.event()
                revoked = await anyio.to_thread.run_sync(
                    run, tmp_path, "key", "revoke", key.split("_")[1], "--file", "keys.toml"
                )
                assert revoked.returncode == 0, revoked.stderr
                since = anyio.current_time()
                assert await client.wait() in {18, 56}  # part of a response; a reset
                assert anyio.current_time() - since < 5  # 1, on a machine that does nothing else
                survivor.raw.clear()
                await survivor.raw_until(b"word")
        assert (await service.client.get("/v1/models", headers=bearer(key))).status_code == 401
        assert (await service.client.get("/v1/models", headers=bearer(other))).status_code == 200
        if server.name == "streamsvc":  # the others do not show what we log
            await service.logged(r"requests\.cut credential=key:\w+ count=1")
            await service.logged("outcome=no_viewers")
    for secret in (key, other):
        assert secret.split("_")[2] not in service.output
    assert "sha256" not in service.output
