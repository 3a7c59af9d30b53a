"""A real Prometheus that scrapes two workers under load agrees with what a load generator counts."""

import asyncio
import json
import re
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path
from statistics import median

import anyio
import httpx2
import pytest

from support.eventstream import view
from support.process import Running, write_config
from support.redis_servers import RedisServer
from support.service import CLIENT_SECONDS
from support.watching import alerts, dashboard, panels
from support.watching.picture import drawn
from support.watching.prometheus import Prometheus, scraping
from support.workers import serve_workers

WORDS = "one two three four five six seven eight nine ten"
COUNT = len(WORDS.split())
SECTIONS: Mapping[str, Mapping[str, object]] = {
    "generations": {"grace_seconds": 0.0},
    "providers.fake": {
        "kind": "fake",
        "model": "words",
        "reply": "text",
        "text": WORDS,
        "first_word_seconds": 0.22,
        "words_per_second": 18.0,
        "allow_faults": True,
        "backoff_seconds": 0.01,
    },
    "providers.long": {
        "kind": "fake",
        "model": "hundred",
        "text": "word " * 100,
        "reply": "text",
        "first_word_seconds": 0.0,
        "words_per_second": 36.0,
    },
}
OPERATIONS = (Path(__file__).parents[2] / "docs" / "operate" / "watch.md").read_text()
WHOLE, LONG, CUT, FAILING, STOPPED, LEAVING = 40, 6, 5, 4, 3, 6
ROUNDS = 4

pytestmark = [
    pytest.mark.needs("prometheus", "valkey"),
    pytest.mark.timeout(180),
    pytest.mark.long,
]


@dataclass
class Load:
    """Streams, and what their client has counted.

    Attributes:
        port: of the service.
        outcomes: of answers, as their `done` gives them, or as the client ended them.
        tokens: of the answers of `fake`, as their `done` gives them.
        firsts: seconds from each request to its first word.
        gaps: seconds between two words.
    """

    port: int
    outcomes: Counter[str] = field(default_factory=Counter)
    tokens: int = 0
    firsts: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)

    async def whole(self, query: str = "") -> None:
        """Read a whole answer."""
        began = asyncio.get_running_loop().time()
        async with view(self.port, f"/stream-ai?prompt=hi{query}") as answer:
            events = await answer.events()
        done = events[-1].json
        self.outcomes[done["outcome"]] += 1
        if done["provider"] == "fake" and done["usage"]:
            self.tokens += done["usage"]["output_tokens"]
        words = [it.at for it in events if it.type == "message"]
        self.firsts += [at - began for at in words[:1]]
        self.gaps += [after - before for before, after in pairwise(words)]

    async def left(self) -> None:
        """Leave after the first word."""
        async with view(self.port, "/stream-ai?prompt=hi&provider=long") as answer:
            while (await answer.event()).type != "message":
                pass
        self.outcomes["no_viewers"] += 1

    async def stopped(self) -> None:
        """Stop an answer, and read to its end."""
        async with (
            httpx2.AsyncClient(
                base_url=f"http://127.0.0.1:{self.port}", timeout=CLIENT_SECONDS
            ) as client,
            view(self.port, "/stream-ai?prompt=hi&provider=long") as answer,
        ):
            stop = f"/v1/generations/{answer.headers['x-generation-id']}/stop"
            assert (await client.post(stop)).is_success
            self.outcomes[(await answer.events())[-1].json["outcome"]] += 1

    async def run(self) -> None:
        """Open all streams, in rounds: their client measures, too, so it must not be busy with connecting."""
        async with anyio.create_task_group() as longer:
            for _ in range(LONG):
                longer.start_soon(self.whole, "&provider=long")
            for _ in range(ROUNDS):
                async with anyio.create_task_group() as tasks:
                    for _ in range(WHOLE // ROUNDS):
                        tasks.start_soon(self.whole)
        async with anyio.create_task_group() as tasks:
            for _ in range(CUT):
                tasks.start_soon(self.whole, "&fault=cut_once")
            for _ in range(FAILING):
                tasks.start_soon(self.whole, "&fault=context_length")
            for _ in range(STOPPED):
                tasks.start_soon(self.stopped)
            for _ in range(LEAVING):
                tasks.start_soon(self.left)


@pytest.fixture(scope="module")
async def watched(
    tmp_path_factory: pytest.TempPathFactory, valkey: RedisServer
) -> AsyncIterator[tuple[Running, Prometheus]]:
    directory = tmp_path_factory.mktemp("prometheus")
    write_config(directory, SECTIONS)
    async with (
        serve_workers(directory, valkey, {}) as service,
        scraping(directory, [service.port], rules=[alerts.PAGE]) as prometheus,
    ):
        await prometheus.until("sum(streamsvc_worker_up)", 2)
        yield service, prometheus


@pytest.mark.promise("seen:outside")
async def test_prometheus_agrees_with_the_load_generator(
    watched: tuple[Running, Prometheus],
) -> None:
    """Streams, tokens and outcomes to the unit; first words and gaps within a bucket."""
    service, prometheus = watched
    load = Load(service.port)
    await load.run()
    every = WHOLE + LONG + CUT + FAILING + STOPPED + LEAVING
    await prometheus.until("sum(streamsvc_viewer_streams_total)", every)
    await prometheus.until("sum(streamsvc_generations_total)", every)
    outcomes = "sum by (outcome) (streamsvc_generations_total)"
    assert await prometheus.by("outcome", outcomes) == load.outcomes
    assert load.outcomes["completed"] == WHOLE + LONG + CUT
    assert len(await prometheus.by("worker", f"sum by (worker) ({outcomes[17:]})")) == 2
    tokens = 'sum(streamsvc_tokens_total{type="output", provider="fake"})'
    assert await prometheus.number(tokens) == load.tokens
    pieces = 'sum(streamsvc_pieces_total{provider="fake"})'
    wasted = 'sum(streamsvc_tokens_wasted_total{reason="rescue"})'
    cut = await prometheus.number(wasted)
    assert cut == CUT * 3  # fault_after_words
    assert await prometheus.number(pieces) == (WHOLE + CUT) * COUNT + cut
    saved = await prometheus.by("reason", "sum by (reason) (streamsvc_tokens_saved_total)")
    assert (
        0 < sum(saved.values()) <= (STOPPED + LEAVING) * 100
    )  # a worker has to know how long answers are
    streams = "sum by (reason) (streamsvc_viewer_streams_total)"
    assert await prometheus.by("reason", streams) == {
        "finished": every - LEAVING,
        "left": LEAVING,
    }
    codes = 'sum by (code) (streamsvc_calls_total{provider="fake"})'
    assert await prometheus.by("code", codes) == {
        "ok": WHOLE + CUT,
        "upstream_cut": CUT,
        "context_length_exceeded": FAILING,
    }
    await assert_within_a_bucket(prometheus, "streamsvc_viewer_first_frame_seconds", load.firsts)
    await assert_within_a_bucket(prometheus, "streamsvc_viewer_gap_seconds", load.gaps)


@pytest.mark.promise("seen:outside")
async def test_prometheus_accepts_all_rules(watched: tuple[Running, Prometheus]) -> None:
    """They are evaluated once a second, and none has an error."""
    _, prometheus = watched
    groups = (await prometheus.ask("/api/v1/rules"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == sum(map(len, alerts.ALERTS.values()))
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
    assert [rule["lastError"] for rule in rules if "lastError" in rule] == []


@pytest.mark.promise("seen:outside")
async def test_every_panel_of_the_dashboard_has_data(watched: tuple[Running, Prometheus]) -> None:
    """After the load of the first test, except for those that show what has not happened."""
    _, prometheus = watched
    await prometheus.until_above("sum(rate(streamsvc_generations_total[1m]))", 0)
    empty = set()
    for panel in chain(*panels.ROWS.values()):
        for query in panel.queries:
            expr = query.expr.replace(panels.WINDOW, "1m")
            expr = re.sub(r"\$(provider|model)", ".*", expr)
            if not await prometheus.query(expr):
                empty.add((panel.title, query.legend))
    assert {title for title, _ in empty} <= panels.MAY_BE_EMPTY, empty


@pytest.mark.promise("seen:outside")
async def test_the_dashboard_can_be_drawn(watched: tuple[Running, Prometheus]) -> None:
    _, prometheus = watched
    board = json.loads(dashboard.PAGE.read_text())
    page = await drawn(board, prometheus, begin=time.time() - 60, end=time.time(), window="1m")
    assert page.count("<svg") == sum(map(len, panels.ROWS.values()))
    assert "p95 fake words" in page


@pytest.mark.promise("seen:outside")
async def test_every_query_of_the_page_for_operators_works(
    watched: tuple[Running, Prometheus],
) -> None:
    _, prometheus = watched
    blocks = re.findall(r"^```promql\n(.*?)^```", OPERATIONS, re.MULTILINE | re.DOTALL)
    queries = [it for it in "".join(blocks).splitlines() if not it.startswith("#")]
    queries += re.findall(r"`([^`\n]*streamsvc_[a-z_]+(?:[{\[ ][^`\n]*)?)`", OPERATIONS)
    assert len(queries) > 10
    for query in queries:
        await prometheus.query(query)


@pytest.mark.needs("curl")
@pytest.mark.promise("seen:outside")
async def test_every_command_of_the_page_for_operators_finds_something(
    watched: tuple[Running, Prometheus], tmp_path: Path
) -> None:
    """Those that ask the service, and those that search its log."""
    service, _ = watched
    (tmp_path / "service.log").write_text(service.output)
    blocks = "".join(re.findall(r"^```sh\n(.*?)^```", OPERATIONS, re.MULTILINE | re.DOTALL))
    commands = [it for it in blocks.splitlines() if it.startswith(("curl", "grep"))]
    commands.remove("grep 'viewer.dropped' service.log")  # of what has not happened here
    assert len(commands) >= 4
    for command in commands:
        asked = command.replace("localhost:8000", f"localhost:{service.port}")
        done = await anyio.run_process(["bash", "-o", "pipefail", "-c", asked], cwd=tmp_path)
        assert done.stdout.strip(), command


async def assert_within_a_bucket(
    prometheus: Prometheus, name: str, measured: Sequence[float]
) -> None:
    """Compare medians: that of Prometheus is in the bucket of the client's, or in the one beside it."""
    summed = f"sum by (le) ({name}_bucket)"
    bounds = sorted(float(it.labels["le"]) for it in await prometheus.query(summed))
    seen = await prometheus.number(f"histogram_quantile(0.5, {summed})")
    assert abs(bisect_left(bounds, seen) - bisect_left(bounds, median(measured))) <= 1, (
        name,
        seen,
        median(measured),
    )
