"""How a real process leaves: `streamsvc serve`, real signals, open streams."""

import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.abc
import httpx2
import pytest

from eventstream import view, wire

ASK = "/stream-ai?prompt=hi"
CREATE = "/v1/generations"
QUESTION = {"prompt": "hi"}
SILENT = {"PROVIDERS__FAKE__FIRST_WORD_SECONDS": "3600"}
RUNNING_ON = re.compile(r"running on http://127\.0\.0\.1:(\d+)")


@dataclass
class Running:
    """A `streamsvc serve` of its own.

    Attributes:
        process: the process.
        client: an HTTP client with its address.
        port: where it listens.
        output: all that it has written.
    """

    process: anyio.abc.Process
    client: httpx2.AsyncClient
    port: int
    output: str

    async def is_ready(self) -> bool:
        return (await self.client.get("/readyz")).status_code == 200

    async def drain(self) -> None:
        """Send SIGTERM, and wait until it is noticed."""
        self.process.send_signal(signal.SIGTERM)
        while await self.is_ready():
            pass

    async def end(self) -> int:
        """Wait for its end; return the exit code."""
        while chunk := await read(self.process):
            self.output += chunk
        return await self.process.wait()


async def read(process: anyio.abc.Process) -> str:
    """Read some more of what a process writes on standard error; nothing at its end."""
    assert process.stderr is not None
    try:
        return (await process.stderr.receive()).decode()
    except anyio.EndOfStream:
        return ""


@asynccontextmanager
async def serve(directory: Path, settings: Mapping[str, str]) -> AsyncIterator[Running]:
    """Run the service as an operator does; killed on the way out if it still runs."""
    environ = {name: value for name, value in os.environ.items() if "STREAMSVC" not in name}
    environ |= {f"STREAMSVC_{name}": value for name, value in settings.items()}
    async with await anyio.open_process(
        [sys.executable, "-m", "streamsvc", "serve"],
        env={**environ, "STREAMSVC_SERVER__PORT": "0"},
        cwd=directory,
        stdout=None,
    ) as process:
        try:
            output = ""
            with anyio.fail_after(20):
                while (found := RUNNING_ON.search(output)) is None:
                    chunk = await read(process)
                    assert chunk, output
                    output += chunk
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{found[1]}") as client:
                yield Running(process, client, int(found[1]), output)
        finally:
            if process.returncode is None:
                process.kill()


def assert_left_well(running: Running, code: int) -> None:
    """No traceback, no complaint, and the exit code of a shutdown that was asked for."""
    assert code == 0, running.output
    assert not re.search("Traceback|WARNING|ERROR|CRITICAL", running.output), running.output
    assert "drain.started" in running.output


@pytest.mark.promise("drain:no-loss")
async def test_a_stream_that_can_finish_does_and_meanwhile_nothing_new_begins(
    tmp_path: Path,
) -> None:
    paced = {"PROVIDERS__FAKE__TEXT": "word " * 15, "PROVIDERS__FAKE__WORDS_PER_SECOND": "15"}
    async with serve(tmp_path, paced) as service:
        with anyio.fail_after(15):
            assert await service.is_ready()
            async with view(service.port, ASK) as viewer:
                events = [await viewer.event() for _ in range(2)]
                await service.drain()
                ready = await service.client.get("/readyz")
                assert (ready.status_code, ready.json()["status"]) == (503, "draining")
                refused = await service.client.post(CREATE, json=QUESTION)
                assert (refused.status_code, refused.json()["code"]) == (503, "draining")
                assert refused.headers["retry-after"]
                later = await service.client.get(ASK)
                assert later.status_code == 200
                assert re.fullmatch(r"retry: \d+\n: busy\n", later.text)
                # Another viewer may still come back for the rest.
                cursor = {"Last-Event-ID": events[-1].last_event_id}
                async with view(service.port, "/stream-ai", headers=cursor) as back:
                    rest = await back.events()
                events += await viewer.events()
                assert viewer.is_whole
            assert rest == events[2:]
            assert [event.seq for event in events] == list(range(17))
            assert events[-1].json["status"] == "completed"
            assert_left_well(service, await service.end())


@pytest.mark.promise("drain:no-loss")
@pytest.mark.promise("end:exactly-one")
async def test_a_stream_that_cannot_finish_is_told_so_when_the_time_is_over(
    tmp_path: Path,
) -> None:
    async with serve(tmp_path, {**SILENT, "SERVER__DRAIN_SECONDS": "0.4"}) as service:
        with anyio.fail_after(15):
            async with view(service.port, ASK) as viewer:
                assert (await viewer.event()).type == "start"
                service.process.send_signal(signal.SIGTERM)
                told = anyio.current_time()
                [done] = await viewer.events()
                assert viewer.is_whole
            assert 0.4 <= done.at - told < 3
            assert done.json["status"] == "failed"
            assert done.json["error"]["code"] == "drained"
            assert done.json["error"]["retryable"] is True
            assert_left_well(service, await service.end())
    assert "drain.finished cut=1" in service.output


@pytest.mark.promise("drain:no-loss")
@pytest.mark.parametrize("at_once", [False, True])
async def test_a_second_signal_ends_the_wait_and_viewers_are_told(
    tmp_path: Path, *, at_once: bool
) -> None:
    async with serve(tmp_path, {**SILENT, "SERVER__DRAIN_SECONDS": "3600"}) as service:
        with anyio.fail_after(15):
            async with view(service.port, ASK) as viewer:
                assert (await viewer.event()).type == "start"
                if at_once:
                    service.process.send_signal(signal.SIGTERM)
                else:
                    await service.drain()
                service.process.send_signal(signal.SIGINT)
                [done] = await viewer.events()
                assert viewer.is_whole
            assert done.json["error"]["code"] == "drained"
            assert_left_well(service, await service.end())


def with_large_answer(directory: Path, close_seconds: int) -> None:
    """Configure an answer larger than the kernel's buffers on the way to a viewer."""
    answer = " ".join(["x" * 65_536] * 100)
    fake = f'kind = "fake", first_word_seconds = 0, words_per_second = 0, text = "{answer}"'
    server = f"close_seconds = {close_seconds}"
    (directory / "config.toml").write_text(
        f"providers.fake = {{ {fake} }}\nserver = {{ {server} }}"
    )


@pytest.mark.promise("drain:no-loss")
async def test_a_viewer_who_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    with_large_answer(tmp_path, close_seconds=1)
    async with serve(tmp_path, {}) as service:
        with anyio.fail_after(15):
            async with wire(service.port, receive_buffer=4096) as connection:
                stream = await connection.ask("GET", ASK)
                assert stream.status == 200
                service.process.send_signal(signal.SIGTERM)
                assert_left_well(service, await service.end())


async def test_a_third_signal_ends_everything(tmp_path: Path) -> None:
    with_large_answer(tmp_path, close_seconds=3600)
    async with serve(tmp_path, {}) as service:
        with anyio.fail_after(15):
            async with wire(service.port, receive_buffer=4096) as connection:
                assert (await connection.ask("GET", ASK)).status == 200
                service.process.send_signal(signal.SIGTERM)
                while "Waiting for connections" not in service.output:
                    service.output += await read(service.process)
                # Unlike signals are not taken for one.
                service.process.send_signal(signal.SIGINT)
                service.process.send_signal(signal.SIGTERM)
                assert await service.end() == 0


@pytest.mark.promise("secret:kept")
async def test_a_whole_life_at_the_finest_log_level_tells_no_prompt_and_no_answer(
    tmp_path: Path,
) -> None:
    secret = "xyzzy-plugh"
    talkative = {
        "SERVER__LOG_LEVEL": "debug",
        "PROVIDERS__FAKE__REPLY": "echo",
        "PROVIDERS__FAKE__FIRST_WORD_SECONDS": "0",
    }
    async with serve(tmp_path, talkative) as service:
        with anyio.fail_after(15):
            client = service.client
            for params in (
                {"prompt": secret},
                {"prompt": "hi", "provider": secret},
                {secret: secret},
            ):
                streamed = await client.get("/stream-ai", params=params)
                assert streamed.status_code == (422 if len(params) > 1 or secret in params else 200)
            for body in ({"prompt": secret}, {"prompt": secret, secret: secret}, secret):
                await client.post(CREATE, json=body, headers={"Accept": "text/event-stream"})
            await client.get(f"/{secret}")
            async with wire(service.port) as connection:
                await connection.ask("GET", f"/stream-ai?prompt={secret}")
                connection.reset()
            service.process.send_signal(signal.SIGINT)
            assert_left_well(service, await service.end())
    assert service.output.count("generation.finished") == 3
    assert secret not in service.output
