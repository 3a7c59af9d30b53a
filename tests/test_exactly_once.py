"""Every viewer gets every word exactly once, under any schedule of cuts.

The whole application runs in virtual time. A viewer acts like a browser: it keeps the last id, sends it when it
reconnects, clears its text at `start`, and stops at 204.
"""

import json
import os
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.abc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp

from streamsvc.app import create_app
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import GenerationSettings, Settings
from support import virtual_time
from support.bridge import Connection
from support.eventstream import EventStreamParser

EXAMPLES = int(os.environ.get("EXACTLY_ONCE_EXAMPLES", "150"))
"""How many schedules a run tries; a long run sets more."""

MAX_BROWSERS = 5


@dataclass
class Browser:
    """One EventSource, with the text of its page, and all events that it has got."""

    app: ASGIApp
    tasks: anyio.abc.TaskGroup
    url: str
    text: str = ""
    seqs: list[int] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    rests: bool = False
    connection: Connection | None = None
    _cursor: str = ""

    def connect(self) -> None:
        if self.rests or self.connection:
            return
        headers = {"Last-Event-ID": self._cursor} if self._cursor else {}
        self.connection = Connection.open(self.app, self.tasks, self.url, headers=headers)

    def cut(self, keep_bytes: int | None = None) -> None:
        """Lose the connection, and all of its bytes after the first *keep_bytes*."""
        if self.connection is None:
            return
        connection, self.connection = self.connection, None
        connection.cut()
        parser = EventStreamParser()
        for event in parser.feed(connection.body[:keep_bytes]):
            payload = json.loads(event.data)
            match payload["type"]:
                case "start":
                    self.text, self.seqs, self.statuses = "", [], []
                case "text":
                    self.text += payload["text"]
                case "done":
                    self.statuses.append(payload["status"])
                case other:
                    assert other == "reasoning"
            self.seqs.append(int(event.last_event_id.rpartition(".")[2]))
        self._cursor = parser.last_event_id or self._cursor
        self.rests = connection.status == 204

    async def finish(self) -> None:
        """Reconnect until a 204 says that nothing more follows."""
        for _ in range(3):
            self.connect()
            if self.connection:
                await self.connection.ended.wait()
                self.cut()
        assert self.rests


texts = st.text(min_size=1, max_size=80).filter(lambda text: bool(text.strip()))
moves = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.01, 0.1, 0.35, 1.0, 3.0])),
    st.tuples(st.just("join"), st.just(0)),
    st.tuples(st.just("cut"), st.integers(0, 4)),
    st.tuples(st.just("cut_in_a_block"), st.integers(0, 600)),
    st.tuples(st.just("reconnect"), st.integers(0, 4)),
    st.tuples(st.just("stop"), st.just(0)),
)


class Stage:
    """One generation, its browsers, and the steps that may happen to them."""

    def __init__(self, app: ASGIApp, tasks: anyio.abc.TaskGroup, generation: str) -> None:
        self._app = app
        self._tasks = tasks
        self._path = f"/v1/generations/{generation}"
        self.browsers: list[Browser] = []
        self.join()

    def join(self, _: float = 0) -> None:
        """Add a viewer, late or not."""
        if len(self.browsers) < MAX_BROWSERS:
            self.browsers.append(Browser(self._app, self._tasks, f"{self._path}/events"))
            self.browsers[-1].connect()

    def cut(self, who: float) -> None:
        self._browser(who).cut()

    def cut_in_a_block(self, keep_bytes: float) -> None:
        self._browser(keep_bytes).cut(int(keep_bytes))

    def reconnect(self, who: float) -> None:
        self._browser(who).connect()

    def stop(self, _: float) -> None:
        self.request(f"{self._path}/stop", method="POST")

    def request(self, target: str, *, method: str = "GET") -> Connection:
        return Connection.open(self._app, self._tasks, target, method=method)

    async def snapshot(self) -> dict[str, Any]:
        answer = self.request(self._path)
        await answer.ended.wait()
        value: dict[str, Any] = json.loads(answer.body)
        return value

    def _browser(self, who: float) -> Browser:
        return self.browsers[int(who) % len(self.browsers)]


async def play(stage: Stage, schedule: list[tuple[str, float]]) -> None:
    """Play all steps, and let every browser reconnect at the end."""
    for move, argument in schedule:
        if move == "wait":
            await anyio.sleep(argument)
        else:
            getattr(stage, move)(argument)
    for browser in stage.browsers:
        await browser.finish()


def check(text: str, whole: dict[str, Any], browsers: list[Browser]) -> None:
    """Check that each page has the whole text, and got each event once."""
    assert whole["status"] in {"completed", "stopped"}
    assert text.startswith(whole["text"])
    if whole["status"] == "completed":
        assert whole["text"] == text
    last = int(whole["last_event_id"].rpartition(".")[2])
    for browser in browsers:
        assert browser.text == whole["text"]
        assert browser.seqs == list(range(last + 1))
        assert browser.statuses == [whole["status"]]


async def perform(text: str, schedule: list[tuple[str, float]], grace_seconds: float) -> None:
    app = create_app(configuration(grace_seconds), {})
    is_finished = False
    async with app.router.lifespan_context(app), anyio.create_task_group() as tasks:
        # In virtual seconds; set once no thread runs, because threads run in real time.
        tasks.cancel_scope.deadline = anyio.current_time() + 1000
        body = json.dumps({"prompt": text}).encode()
        created = Connection.open(app, tasks, "/v1/generations", method="POST", body=body)
        await created.ended.wait()
        stage = Stage(app, tasks, json.loads(created.body)["id"])
        await play(stage, schedule)
        check(text, await stage.snapshot(), stage.browsers)
        assert len(app.state.log) == 1
        is_finished = True
        tasks.cancel_scope.cancel()
    assert is_finished, "a viewer waits forever"


def configuration(grace_seconds: float) -> Settings:
    return Settings(
        generations=GenerationSettings(
            grace_seconds=grace_seconds,
            attach_seconds=2.0,
            keep_finished_seconds=1e6,
            keep_abandoned_seconds=1e6,
        ),
        providers={
            "fake": FakeSettings(
                reply="echo", words_per_second=4, first_word_seconds=0.5, jitter=0.9
            )
        },
    )


@pytest.mark.promise("resume:no-gap")
@pytest.mark.promise("resume:never-regenerate")
@pytest.mark.promise("end:exactly-one")
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    text=texts,
    schedule=st.lists(moves, max_size=30),
    grace_seconds=st.sampled_from([0.0, 0.2, 1.0, 60.0]),
)
def test_each_viewer_gets_each_event_exactly_once(
    text: str, schedule: list[tuple[str, float]], grace_seconds: float
) -> None:
    """There is one generation, and therefore one upstream call."""
    virtual_time.run(perform(text, schedule, grace_seconds))
