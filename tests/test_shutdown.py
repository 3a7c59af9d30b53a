"""Shutdown of `streamsvc serve` as a process, with real signals and open streams."""

import re
import signal
from pathlib import Path

import anyio
import pytest

from support.eventstream import view, wire
from support.process import Running, serve

ASK = "/stream-ai?prompt=hi"
CREATE = "/v1/generations"
QUESTION = {"prompt": "hi"}
SILENT = {"PROVIDERS__FAKE__FIRST_WORD_SECONDS": "3600"}


def assert_left_well(running: Running, code: int) -> None:
    """Assert exit code 0, a drain, and neither tracebacks nor warnings."""
    assert code == 0, running.output
    running.assert_quiet()
    assert "drain.started" in running.output


@pytest.mark.promise("drain:no-loss")
async def test_drain_lets_streams_finish_and_refuses_new_ones(
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
                # Another viewer can still resume.
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
async def test_drain_timeout_ends_streams_with_drained(
    tmp_path: Path,
) -> None:
    async with serve(tmp_path, {**SILENT, "SERVER__DRAIN_SECONDS": "0.4"}) as service:
        with anyio.fail_after(15):
            async with view(service.port, ASK) as viewer:
                assert (await viewer.event()).type == "start"
                service.process.send_signal(signal.SIGTERM)
                signalled = anyio.current_time()
                [done] = await viewer.events()
                assert viewer.is_whole
            assert 0.4 <= done.at - signalled < 10
            assert done.json["status"] == "failed"
            assert done.json["error"]["code"] == "drained"
            assert done.json["error"]["retryable"] is True
            assert_left_well(service, await service.end())
    assert "drain.finished cut=1" in service.output


@pytest.mark.promise("drain:no-loss")
@pytest.mark.parametrize("at_once", [False, True])
async def test_second_signal_ends_the_drain_with_a_done(tmp_path: Path, *, at_once: bool) -> None:
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
    """Configure an answer larger than the kernel's buffers between service and viewer."""
    answer = " ".join(["x" * 65_536] * 100)
    fake = f'kind = "fake", first_word_seconds = 0, words_per_second = 0, text = "{answer}"'
    server = f"close_seconds = {close_seconds}"
    (directory / "config.toml").write_text(
        f"providers.fake = {{ {fake} }}\nserver = {{ {server} }}"
    )


@pytest.mark.promise("drain:no-loss")
async def test_viewer_that_does_not_read_does_not_delay_shutdown(tmp_path: Path) -> None:
    with_large_answer(tmp_path, close_seconds=1)
    async with serve(tmp_path, {}) as service:
        with anyio.fail_after(15):
            async with wire(service.port, receive_buffer=4096) as connection:
                stream = await connection.ask("GET", ASK)
                assert stream.status == 200
                service.process.send_signal(signal.SIGTERM)
                assert_left_well(service, await service.end())


async def test_third_signal_closes_without_waiting(tmp_path: Path) -> None:
    with_large_answer(tmp_path, close_seconds=3600)
    async with serve(tmp_path, {}) as service:
        with anyio.fail_after(15):
            async with wire(service.port, receive_buffer=4096) as connection:
                assert (await connection.ask("GET", ASK)).status == 200
                service.process.send_signal(signal.SIGTERM)
                await service.logged("Waiting for connections")
                # Two different ones, because equal pending signals merge into one.
                service.process.send_signal(signal.SIGINT)
                service.process.send_signal(signal.SIGTERM)
                assert await service.end() == 0


@pytest.mark.promise("secret:kept")
async def test_debug_log_contains_no_prompt_and_no_answer(
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
            await client.get(f"/nowhere?prompt={secret}")
            async with wire(service.port) as connection:
                await connection.ask("GET", f"/stream-ai?prompt={secret}")
                connection.reset()
            service.process.send_signal(signal.SIGINT)
            assert_left_well(service, await service.end())
    assert service.output.count("generation.finished") == 3
    assert secret not in service.output
