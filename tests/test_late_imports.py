"""No module is imported while an answer streams: without a free descriptor, the import would fail."""

import os
import re
import resource
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest

from support.eventstream import wire
from support.process import Running, serve
from support.redis_servers import RedisServer
from support.upstreams import GEMINI, OPENAI, Step, finish, reasoning, status, text, upstream

IMPORT = re.compile(r"import time: .*\| +(\S+)")
OF_REDIS = {"redis", "streamsvc.sharing_redis", "streamsvc.store"}
SSE = {"Accept": "text/event-stream"}
CHAT = {"model": "fake", "messages": [{"role": "user", "content": "hi 😀"}]}
UI = {
    "id": "c",
    "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "hi"}]}],
}
QUICK = {
    "PROVIDERS__FAKE__FIRST_WORD_SECONDS": "0",
    "PROVIDERS__FAKE__WORDS_PER_SECOND": "0",
    "PROVIDERS__FAKE__REASONING": "Let me see.",
    "PROVIDERS__FAKE__ALLOW_FAULTS": "true",
    "PROVIDERS__FAKE__BACKOFF_SECONDS": "0.01",
    "SERVER__LOG_LEVEL": "debug",
}


async def ask_in_every_way(service: Running) -> None:
    """Use each dialect, each way to resume and stop, and each kind of refusal once."""
    client = service.client
    for query in (
        "",
        "&format=text",
        "&format=plain",
        "&fault=cut_once",
        "&fault=auth",
        "&fault=x",
    ):
        await client.get(f"/stream-ai?prompt=h%C3%A9{query}")
    answer = await client.post("/v1/generations", json={"prompt": "code 😀"}, headers=SSE)
    own = answer.headers["x-generation-id"]
    await client.post("/v1/generations", json={"prompt": "x", "stop": ["q"], "temperature": 0.5})
    await client.get(f"/v1/generations/{own}")
    await client.get(f"/v1/generations/{own}/events", headers={"Last-Event-ID": f"{own}.2"})
    await client.get("/stream-ai", headers={"Last-Event-ID": f"gen_{'a' * 32}.2"})
    await client.post(f"/v1/generations/{own}/stop")
    for fields in ({"stream": True}, {}, {"messages": "x"}, {"model": "nobody"}):
        await client.post("/v1/chat/completions", json={**CHAT, **fields})
    for path in (
        "/v1/models",
        "/v1/providers",
        "/",
        "/healthz",
        "/readyz",
        "/openapi.json",
        "/nowhere",
    ):
        await client.get(path)
    await client.post("/api/chat", json=UI)
    await client.get("/api/chat/c/stream")
    await client.post("/api/chat/c/stop")
    await client.post("/v1/generations", content=b'{"prompt": "\\ud83d"')
    await client.get("/stream-ai?prompt=hi", headers={b"Origin": "http://münchen.test".encode()})
    async with wire(service.port) as connection:
        await connection.send(b"POST / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n\0")
        connection.reset()


@pytest.mark.promise("upstream:bounded")
@pytest.mark.parametrize("log", ["memory", "redis"])
async def test_no_module_is_imported_after_the_start(
    tmp_path: Path, log: str, valkey: RedisServer, key_prefix: str
) -> None:
    """Nothing of Redis is imported at all by a service that keeps its answers in memory."""
    answers: Sequence[Step] = (reasoning("Hm. "), text("a", "é😀"), finish())
    async with upstream(*answers) as openai, upstream(*answers) as gemini, upstream(
        status(500, {"error": {"message": "no", "code": "x"}})
    ) as broken:  # fmt: skip
        (tmp_path / "config.toml").write_text(f"""
[providers.a]
kind = "openai"
model = "m"
base_url = "{OPENAI.entry(openai.url).base_url.replace("127.0.0.1", "localhost")}"
[providers.b]
kind = "gemini"
model = "m"
base_url = "{GEMINI.entry(gemini.url).base_url}"
[providers.c]
kind = "openai"
model = "m"
base_url = "{OPENAI.entry(broken.url).base_url}"
backoff_seconds = 0.01
fallbacks = ["b"]
[providers.d]
kind = "gemini"
model = "m"
base_url = "http://127.0.0.1:1"
attempts = 1
""")
        environ = {"PYTHONPROFILEIMPORTTIME": "1"}
        stored = {"LOG__KIND": log, "LOG__URL": valkey.url, "LOG__PREFIX": key_prefix}
        async with serve(tmp_path, {**QUICK, **stored}, environ=environ) as service:
            with anyio.fail_after(40):
                await ask_in_every_way(service)
                for name in "abcd":
                    answer = await service.client.get(f"/stream-ai?prompt=hi&provider={name}")
                    outcome = "failed" if name == "d" else "completed"
                    assert f'"status":"{outcome}"' in answer.text, answer.text
                assert await service.terminate() == 0
    before, _, after = service.output.partition("Uvicorn running")
    of_redis = [it for it in IMPORT.findall(before) if it in OF_REDIS]
    assert of_redis == [] if log == "memory" else set(of_redis) == OF_REDIS
    answered, _, _ = after.partition("Shutting down")
    assert IMPORT.findall(answered) == []


@pytest.mark.promise("end:exactly-one")
@pytest.mark.skipif(sys.platform != "linux", reason="prlimit(2) is Linux's")
async def test_an_answer_is_complete_although_no_descriptor_is_free(tmp_path: Path) -> None:
    """Once descriptors are free again, new requests are answered."""
    async with serve(tmp_path, {**QUICK, "PROVIDERS__FAKE__FIRST_WORD_SECONDS": "1"}) as service:
        with anyio.fail_after(20), ExitStack() as stack:
            async with wire(service.port) as connection:
                stream = await connection.ask("GET", "/stream-ai?prompt=hi")
                assert (await stream.event()).type == "start"
                pid = service.process.pid
                before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(descriptors(pid)), before[1]))
                for _ in range(50):
                    stack.enter_context(socket.socket()).connect(("127.0.0.1", service.port))
                events = await stream.events()
            assert events[-1].json["status"] == "completed"
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
            assert (await service.client.get("/healthz")).status_code == 200
        service.assert_quiet()


def descriptors(pid: int) -> list[str]:
    return os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208
