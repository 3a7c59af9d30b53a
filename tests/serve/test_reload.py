"""SIGHUP gives new requests new settings; what runs keeps its own, and loses no word."""

import re
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from support.asking import CLIENTS, answered, get, sent
from support.eventstream import Answer
from support.process import FAKE, Running, serve, write_config
from support.upstreams import Upstream, finish, text, until, upstream

STREAMS = 200
BEFORE = [f"w{number} " for number in range(5)]
AFTER = [f"w{number} " for number in range(5, 20)]
BAD = '[server]\nprot = 1\n[providers.model]\nkind = "openai"\nmodel = 7\n'


def write_model(directory: Path, api: Upstream, **limits: object) -> None:
    entry: dict[str, object] = {
        "kind": "openai",
        "model": "m",
        "api_key_env": "",
        "base_url": api.url,
    }
    write_config(directory, {"limits": limits, "providers.model": entry, "providers.fake": FAKE})


async def reloaded(service: Running, line: str) -> re.Match[str]:
    """Send SIGHUP, and wait for a line after that."""
    since = len(service.output)
    service.process.send_signal(signal.SIGHUP)
    return await service.logged(line, since=since)


@asynccontextmanager
async def live_streams(port: int) -> AsyncIterator[list[Answer]]:
    """Hold streams in all dialects, each of which has the words before the pause of its model."""
    clients = [client for client in CLIENTS.values() if client.stream]
    async with AsyncExitStack() as stack:
        answers = []
        for number in range(STREAMS):
            request = clients[number % len(clients)].request("model", chat=f"chat-{number}")
            answers.append(await stack.enter_async_context(sent(port, request, seconds=80)))
        for answer in answers:
            await answer.raw_until(BEFORE[-1].encode())
        yield answers


@pytest.mark.promise("change:no-loss")
@pytest.mark.timeout(200)
async def test_200_streams_lose_no_word_to_a_good_and_a_bad_reload(tmp_path: Path) -> None:
    """The model of the new settings is another server; it answers new requests while 200 old answers wait."""
    go_on = anyio.Event()
    async with (
        upstream(text(*BEFORE), until(go_on), text(*AFTER), finish()) as old,
        upstream(text("new"), finish()) as new,
    ):
        write_model(tmp_path, old)
        async with serve(tmp_path, {"PROVIDER": "model"}) as service:
            with anyio.fail_after(150):
                async with live_streams(service.port) as answers:
                    write_model(tmp_path, new, max_viewers=STREAMS + 1)
                    changed = "limits.max_viewers,providers.model.base_url"
                    await reloaded(service, rf"settings\.reloaded changed={changed}\n")
                    for client in CLIENTS.values():
                        answer = await answered(service.port, client.request("model"))
                        assert b"new" in answer.raw

                    (tmp_path / "config.toml").write_text(BAD)
                    refused = await reloaded(service, r"settings\.refused .*\n")
                    assert "what was running stays" in refused[0]
                    assert "server.prot: found an unknown key" in refused[0]
                    assert "providers.model.model: found 7" in refused[0]
                    assert b"new" in (await answered(service.port, get("/stream-ai?prompt=hi"))).raw

                    go_on.set()
                    bodies = [await answer.body() for answer in answers]
            for body in bodies:
                assert [body.count(word.encode()) for word in BEFORE + AFTER] == [1] * 20
            assert len(old.calls) == STREAMS
            with anyio.fail_after(30):
                assert await service.terminate() == 0
        assert service.output.count("outcome=completed") >= STREAMS
    service.assert_quiet("settings.refused")
