"""Words over real sockets: when they arrive, and what happens to a slow viewer."""

import logging
import os

import anyio
import pytest

from conftest import Serve
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import GenerationSettings, Settings, StreamSettings
from support.eventstream import Answer, BrowserEvent, view, wire
from support.native import ASK, text_of, until, until_viewers_are
from support.service import Service
from support.shared import fresh_upstream
from support.upstreams import OPENAI, Upstream, finish, text
from support.upstreams import until as until_set

PATIENT = 3600.0

api = fresh_upstream()

# More than the kernel buffers, in pieces that each fill the server's own buffer.
LARGE_WORD = "x" * 65_536
LARGE = FakeSettings(text=" ".join([LARGE_WORD] * 100), first_word_seconds=0, words_per_second=0)


def with_fake(
    fake: FakeSettings, *, send_timeout_seconds: float = PATIENT, keep_finished_seconds: float = 300
) -> Settings:
    return Settings(
        providers={"fake": fake},
        stream=StreamSettings(send_timeout_seconds=send_timeout_seconds),
        generations=GenerationSettings(
            grace_seconds=60, keep_finished_seconds=keep_finished_seconds
        ),
    )


@pytest.mark.promise("stream:word-by-word")
async def test_each_word_arrives_when_the_provider_sends_it(api: Upstream, serve: Serve) -> None:
    """The provider sends a word once the viewer has the one before it, so no word can wait for the next."""
    seen = [anyio.Event() for _ in range(10)]
    api.script([step for event in seen for step in (until_set(event), text("word "))] + [finish()])
    model = OPENAI.entry(api.url, api_key_env="")
    service = await serve(Settings(provider="model", providers={"model": model}))
    with anyio.fail_after(30):
        async with view(service.port, ASK) as viewer:
            assert (await viewer.event()).type == "start"
            for event in seen:
                event.set()
                assert (await viewer.event()).json["text"] == "word "
            assert (await viewer.event()).type == "done"


@pytest.mark.promise("fan-out:shared")
async def test_viewers_that_join_at_any_time_share_one_generation(serve: Serve) -> None:
    fake = FakeSettings(text="word " * 20, first_word_seconds=0, words_per_second=60)
    service = await serve(with_fake(fake))
    seen: list[list[BrowserEvent]] = []

    async def watch(target: str) -> None:
        async with view(service.port, target) as viewer:
            seen.append(await viewer.events())

    with anyio.fail_after(10):
        async with view(service.port, ASK) as first, anyio.create_task_group() as tasks:
            events: list[BrowserEvent] = []
            while not events or events[-1].type != "done":
                events.append(await first.event())
                tasks.start_soon(watch, first.headers["location"])
    assert text_of(events) == fake.text
    assert len(seen) == len(events) == 22
    assert all(each == events for each in seen)
    assert len(service.log) == 1


@pytest.mark.promise("fan-out:shared")
async def test_viewer_that_does_not_read_delays_nobody(serve: Serve) -> None:
    service = await serve(with_fake(LARGE))
    with anyio.fail_after(20):
        async with wire(service.port, receive_buffer=4096) as connection:
            slow = await connection.ask("GET", ASK)
            async with view(service.port, slow.headers["location"]) as fast:
                events = await fast.events()
            assert text_of(events) == LARGE.text
            assert len(service.log) == 1
            # The slow viewer is still connected; it has read nothing but the head, and now reads the rest.
            await until_viewers_are(service, 1)
            assert slow.raw == b""
            assert await slow.events() == events
            assert slow.is_whole


def open_files() -> int:
    return len(os.listdir("/dev/fd"))  # noqa: PTH208  # only their number is needed


async def assert_is_dropped_and_resumes(service: Service, slow: Answer) -> None:
    """Expect the service to drop a viewer that does not read; then resume and read the rest."""
    await until_viewers_are(service, 0)
    seen = await slow.events()
    assert not slow.is_whole
    assert "done" not in {event.type for event in seen}
    headers = {"Last-Event-ID": slow.parser.last_event_id}
    async with view(service.port, ASK, headers=headers) as viewer:
        seen += await viewer.events()
    assert [event.seq for event in seen] == list(range(102))
    assert text_of(seen) == LARGE.text
    assert len(service.log) == 1


@pytest.mark.promise("fan-out:shared")
@pytest.mark.promise("resume:no-gap")
async def test_slow_viewer_is_dropped_without_done_and_resumes(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "streamsvc")
    paced = FakeSettings(text=LARGE.text, first_word_seconds=0, words_per_second=400)
    service = await serve(with_fake(paced, send_timeout_seconds=0.2))
    await until_viewers_are(service, 0)
    before = open_files()
    with anyio.fail_after(20):
        async with wire(service.port, receive_buffer=4096) as connection:
            slow = await connection.ask("GET", ASK)
            assert open_files() == before + 2
            await until_viewers_are(service, 0)
            # The viewer has read nothing, but the server has closed its end.
            while open_files() != before + 1:
                await service.client.get("/healthz")  # also keeps the client's own connection open
            await assert_is_dropped_and_resumes(service, slow)
    assert "reason=too_slow" in caplog.text
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.promise("fan-out:shared")
async def test_viewer_that_does_not_read_the_end_is_dropped(serve: Serve) -> None:
    """The rest fits into the server's last write; nothing may wait for that write for ever."""
    service = await serve(with_fake(LARGE, send_timeout_seconds=0.2))
    with anyio.fail_after(20):
        async with view(service.port, ASK) as viewer:
            assert (await viewer.events())[-1].type == "done"
        async with wire(service.port, receive_buffer=4096) as connection:
            slow = await connection.ask("GET", viewer.headers["location"])
            await assert_is_dropped_and_resumes(service, slow)


@pytest.mark.promise("resume:honest")
async def test_viewer_that_reads_too_late_gets_not_resumable(serve: Serve) -> None:
    """Its stream is shorter than the answer, but does not look finished."""
    service = await serve(with_fake(LARGE, keep_finished_seconds=0))
    with anyio.fail_after(20):
        async with wire(service.port, receive_buffer=4096) as connection:
            slow = await connection.ask("GET", ASK)
            await until(lambda: not len(service.log))
            *seen, done = await slow.events()
            assert slow.is_whole
        assert [event.seq for event in seen] == list(range(len(seen)))
        assert 1 < len(seen) < 101
        assert done.json["status"] == "failed"
        assert done.json["error"]["code"] == "not_resumable"
        headers = {"Last-Event-ID": done.last_event_id}
        async with view(service.port, ASK, headers=headers) as viewer:
            assert viewer.status == 204
