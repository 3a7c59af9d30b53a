"""200 live streams on two workers: their settings change, a worker is killed, then all are restarted.

No page notices but for a pause.

The model answers every call to an answer in the same words, at once as far as it has got before, then at its pace;
each answer goes on until the test lets it end.
"""

import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from support.chaos_table import Event, note
from support.event_source import Ledger, Page, lost_and_doubled
from support.fleet import Worker
from support.owned import own_tasks
from support.process import Running, write_config
from support.redis_servers import RedisServer
from support.upstreams import Call, Exchange, Script, Upstream, finish, upstream
from support.workers import serve_workers, workers

STREAMS = 200
WORD_SECONDS = 0.5
"""Four hundred words a second in all: test, workers and Redis share two cores."""
DRAIN_SECONDS = 1

pytestmark = [pytest.mark.needs("valkey"), pytest.mark.timeout(240)]


@dataclass
class Model:
    """Answers any prompt with numbered words, until it may end.

    Attributes:
        words: how many words each prompt has got so far.
        calls: how many calls each prompt has got.
        may_end: lets all answers end.
    """

    words: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    may_end: anyio.Event = field(default_factory=anyio.Event)

    def script(self, call: Call) -> Script:
        prompt = call.body["messages"][-1]["content"]
        self.calls[prompt] += 1

        async def speak(to: Exchange) -> None:
            number = 0
            while number < self.words[prompt] or not self.may_end.is_set():
                self.words[prompt] = max(self.words[prompt], number + 1)
                await to.send_tokens([to.call.wire.token(f"w{number} ")])
                number += 1
                if number >= self.words[prompt]:
                    await anyio.sleep(WORD_SECONDS)

        return (speak, finish())

    def answer(self, prompt: str) -> list[str]:
        return [f"w{number}" for number in range(self.words[prompt])]


@dataclass
class Stage:
    """The service, its model, the directory of its settings, and the pages by their prompts."""

    service: Running
    model: Model
    settings: Path
    pages: dict[str, Page]

    async def until_all_have(self, more: int) -> None:
        """Wait until each page has got so many more words."""
        wanted = {prompt: len(page.words) + more for prompt, page in self.pages.items()}
        for prompt, page in self.pages.items():
            while len(page.words) < wanted[prompt]:
                await page.wait_word()
                assert not page.outcome, page.outcome

    @property
    def calls(self) -> int:
        return self.model.calls.total()


@asynccontextmanager
async def live_streams(directory: Path, server: RedisServer) -> AsyncIterator[Stage]:
    """Run two workers, and pages that each show an answer."""
    model = Model()
    async with upstream() as api:
        api.choose = model.script
        write_config(directory, {"providers.model": provider(api)})
        settings = {
            "PROVIDER": "model",
            "SERVER__DRAIN_SECONDS": str(DRAIN_SECONDS),
            "STREAM__RETRY_MS": "500",
            "GENERATIONS__GRACE_SECONDS": "60",
        }
        async with serve_workers(directory, server, settings) as service, own_tasks() as tasks:
            worker = Worker(service, "127.0.0.1", service.client)
            pages = {
                f"q{number}": Page(f"/stream-ai?prompt=q{number}&key=q{number}", [worker], Ledger())
                for number in range(STREAMS)
            }
            for page in pages.values():
                tasks.start_soon(page.show)
            yield Stage(service, model, directory, pages)


def provider(api: Upstream) -> dict[str, object]:
    return {
        "kind": "openai",
        "model": "m",
        "api_key_env": "",
        "base_url": f"{api.url}/v1",
    }


@pytest.mark.promise("scale:one-writer")
@pytest.mark.promise("scale:told")
@pytest.mark.promise("change:no-loss")
async def test_200_streams_survive_reloads_a_kill_and_a_restart(
    tmp_path: Path, valkey: RedisServer
) -> None:
    with anyio.fail_after(200):
        async with live_streams(tmp_path, valkey) as stage:
            await stage.until_all_have(2)
            assert stage.calls == STREAMS
            await change_settings(stage)
            assert stage.calls == STREAMS
            killed = await measure(stage, kill_a_worker)
            restarted = await measure(stage, restart_all)
            stage.model.may_end.set()
    counts = [
        lost_and_doubled(page.text, stage.model.answer(prompt))
        for prompt, page in stage.pages.items()
    ]
    lost, doubled = (max(numbers) for numbers in zip(*counts, strict=True))
    assert (lost, doubled) == (0, 0)
    for page in stage.pages.values():
        assert page.outcome == "completed"
        assert page.ledger.doubtful == set()
        assert page.restarts == 0
    events = {"killed": killed, "restarted": restarted}
    print(events)
    assert killed.calls <= STREAMS
    assert restarted.calls <= 2 * STREAMS  # an answer may be handed over by both workers
    note("restart", events)


async def measure(stage: Stage, happen: Callable[[Stage], Awaitable[None]]) -> Event:
    """Let something happen, and wait until all pages have words again; words are counted when the answers end."""
    calls, began_at = stage.calls, anyio.current_time()
    await happen(stage)
    await stage.until_all_have(3)
    pause = max(page.pause(began_at) for page in stage.pages.values())
    return Event(streams=STREAMS, lost=0, doubled=0, calls=stage.calls - calls, pause=pause)


async def change_settings(stage: Stage) -> None:
    """Give both workers other settings, and then some with a mistake, which change nothing.

    The mistake stays until the workers are restarted.
    """
    file, process = stage.settings / "config.toml", stage.service.process
    good = file.read_text().replace('model = "m"', 'model = "n"')
    file.write_text(good)
    process.send_signal(signal.SIGHUP)
    for number in (1, 2):
        line = rf"settings\.reloaded changed=providers\.model\.model worker={number}"
        await stage.service.logged(line)
    file.write_text(f"{good}\nmodle = 1\n")
    process.send_signal(signal.SIGHUP)
    await stage.service.logged(r"settings\.refused .*providers\.model\.modle: found an unknown key")
    assert stage.service.output.count("settings.refused") == 1
    await stage.until_all_have(1)


async def kill_a_worker(stage: Stage) -> None:
    """Kill the first worker, and wait until another one takes its place."""
    [pid] = workers(stage.service)[1]
    os.kill(pid, signal.SIGKILL)
    died = await stage.service.logged(rf"worker\.died number=1 pid={pid}")
    await stage.service.logged(r"worker\.started number=1", since=died.end())


async def restart_all(stage: Stage) -> None:
    """Mend the settings, and replace both workers, one after the other."""
    file = stage.settings / "config.toml"
    file.write_text(file.read_text().replace("modle = 1", ""))
    stage.service.process.send_signal(signal.SIGUSR2)
    await stage.service.logged(r"restart\.finished")
