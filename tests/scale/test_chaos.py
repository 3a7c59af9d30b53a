"""The chaos table: whatever fails between workers and Redis, no word is lost, none comes twice, and viewers know soon.

All fleets run side by side, each with its own Redis server; the acts of a fleet follow one another. Each answer has
pages on the worker that produces it and on another one.
"""

import json
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import anyio
import pytest

from support.chaos import (
    ACTS,
    KNOWN_SECONDS,
    ROWS,
    WORD_SECONDS,
    WORDS_BEFORE,
    Act,
    FleetName,
    Row,
    Scene,
)
from support.chaos_table import Result, committed, note
from support.event_source import Ledger, Page, lost_and_doubled
from support.fleet import Place, Worker, fleet
from support.network import Namespace, namespace
from support.redis_proxy import RedisProxy, redis_proxy
from support.redis_servers import running_redis
from support.upstreams import Call, Exchange, Script, Upstream, finish, upstream

PAGES = 3
"""How many pages each answer has on each worker."""

CATCH_UP_SECONDS = 2 * WORDS_BEFORE * WORD_SECONDS
"""What the model takes to write again what pages have: the words before the fault, and those until it is noticed."""

BUSY_SECONDS = 3.0
"""What a busy machine may add."""

ACT_SECONDS = 60
"""Bound of an act."""

LOG_SECONDS = 5
"""How long after the end of an answer a log line may come."""

LOOPBACK = "127.0.0.1"

pytestmark = [pytest.mark.needs("valkey"), pytest.mark.timeout(240)]


@dataclass
class Stage:
    """A fleet, and what stands around it.

    Attributes:
        calls: the calls for each row so far.
    """

    scene: Scene
    workers: Sequence[Worker]
    api: Upstream
    calls: dict[str, int] = field(default_factory=dict)

    def script(self, call: Call) -> Script:
        """Return the script of a call, whose prompt is the id of a row."""
        row = ROWS[call.body["messages"][-1]["content"]]
        number = self.calls.get(row.id, 0)
        self.calls[row.id] = number + 1
        words = row.answer(number)

        async def speak(to: Exchange) -> None:
            await to.send_tokens(map(to.call.wire.token, words), gap_seconds=WORD_SECONDS)

        return (speak, finish())


@asynccontextmanager
async def opened(
    name: FleetName, directory: Path, machine: Namespace | None
) -> AsyncIterator[Stage]:
    """Run the fleet of some acts, with all that their faults need."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(running_redis(host=machine.back.here if machine else LOOPBACK))
        proxy: RedisProxy | None = None
        if name in {"stalled", "redis", "no_rescue"}:
            proxy = await stack.enter_async_context(redis_proxy(server))
        api = await stack.enter_async_context(
            upstream(host=machine.front.here if machine else LOOPBACK)
        )
        here = Place(redis_url=proxy.url if proxy else server.url)
        there = Place(redis_url=server.url) if name == "stalled" else here
        if machine:
            here = Place(redis_url=server.url, host=machine.front.there, enter=machine.enter)
        workers = await stack.enter_async_context(
            fleet(directory, [here, there], sections(api, rescue=name != "no_rescue"))
        )
        scene = Scene(
            here=workers[0], there=workers[1], server=server, proxy=proxy, machine=machine
        )
        stage = Stage(scene, workers, api)
        api.choose = stage.script
        yield stage


def sections(api: Upstream, *, rescue: bool) -> dict[str, dict[str, object]]:
    entry = {"kind": "openai", "model": "m", "api_key_env": "", "base_url": f"{api.url}/v1"}
    return {
        "generations": {"grace_seconds": 30.0, "rescue": rescue},
        "stream": {"retry_ms": 500},
        "providers.model": dict[str, object](entry),
    }


async def play(stage: Stage, act: Act) -> dict[str, tuple[Result, list[str]]]:
    """Play an act: let its answers begin, let it go wrong, read all pages to their end; return what came of it."""
    since = {name: len(worker.output) for name, worker in stage.scene.workers.items()}
    stage.scene.woken_at, stage.scene.reasons = None, {}
    pages = {row.id: await begin(stage, row) for row in act.rows}
    everyone = [page for some in pages.values() for page in some]
    async with anyio.create_task_group() as tasks:
        for page in everyone:
            tasks.start_soon(page.show)
        for page in everyone:
            while len(page.words) < WORDS_BEFORE:
                await page.wait_word()
        at = anyio.current_time()
        await act.fault(stage.scene)
    outcomes = {}
    for row in act.rows:
        result = await judged(stage, row, pages[row.id], at)
        wrong = [*complaints(row, result, pages[row.id]), *await unsaid(stage.scene, row, since)]
        outcomes[row.id] = (result, wrong)
    return outcomes


async def begin(stage: Stage, row: Row) -> list[Page]:
    """Create an answer here; return its pages."""
    body = {"prompt": row.id, "provider": "model"}
    created = await stage.scene.here.client.post("/v1/generations", json=body)
    assert created.status_code == 201, created.text
    path = f"{created.headers['location']}/events"
    ledger = Ledger()
    return [
        Page(path, stage.workers, ledger, first=worker)
        for worker in stage.scene.workers.values()
        for _ in range(PAGES)
    ]


async def judged(stage: Stage, row: Row, pages: Sequence[Page], at: float) -> Result:
    """Return what came of a row that went wrong at a time."""
    scene = stage.scene
    whole = row.answer(stage.calls[row.id] - 1)
    if row.outcome != "completed":  # what is stored is all there is, and the `done` says so
        path = pages[0].path.removesuffix("/events")
        whole = (await scene.there.client.get(path)).json()["text"].split()
    counts = [lost_and_doubled(page.text, whole) for page in pages]
    noticed_at = scene.woken_at or at
    return Result(
        lost=max(lost for lost, _ in counts),
        doubled=max(doubled for _, doubled in counts),
        doubtful=len(pages[0].ledger.doubtful),
        calls=stage.calls[row.id],
        here=max(page.silence(noticed_at) for page in pages if page.first is scene.here),
        there=max(page.silence(at) for page in pages if page.first is scene.there),
        pause=max(page.pause(at) for page in pages),
    )


def complaints(row: Row, result: Result, pages: Sequence[Page]) -> list[str]:
    """Return what is wrong with a result."""
    found = []
    if result.exact != (0, 0, 0, row.calls):
        found.append(str(result))
        found += [page.text for page in pages]
    if {page.outcome for page in pages} != {row.outcome}:
        found.append(f"outcomes {sorted({page.outcome for page in pages})}")
    if max(result.here, result.there) > KNOWN_SECONDS + CATCH_UP_SECONDS + BUSY_SECONDS:
        found.append(f"known after {result.here:.1f} s here, {result.there:.1f} s there")
    return found


async def unsaid(scene: Scene, row: Row, since: Mapping[str, int]) -> list[str]:
    """Return what the workers should have said, and have not."""
    found = []
    for name, lines in row.logged.items():
        for line in lines:
            pattern = ".*".join(map(re.escape, line.split("…")))
            with anyio.move_on_after(LOG_SECONDS) as scope:
                await scene.workers[name].running.logged(pattern, since=since[name])
            if scope.cancelled_caught:
                found.append(f"{name} has not logged {line!r}")
    if scene.reasons != row.says:
        found.append(f"/readyz said {scene.reasons}")
    return found


async def play_all(
    names: Sequence[FleetName], directory: Path, machine: Namespace | None
) -> dict[str, tuple[Result, list[str]]]:
    """Play the acts of some fleets; return what came of each row."""
    outcomes: dict[str, tuple[Result, list[str]]] = {}

    async def play_fleet(name: FleetName) -> None:
        place = directory / name
        place.mkdir()
        async with opened(name, place, machine if name == "machine" else None) as stage:
            for act in ACTS:
                if act.fleet == name:
                    with anyio.fail_after(ACT_SECONDS):
                        outcomes.update(await play(stage, act))

    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(play_fleet, name)
    return {row: outcomes[row] for row in ROWS if row in outcomes}


ON_THIS_MACHINE: tuple[FleetName, ...] = ("rescue", "no_rescue", "redis", "stalled")
"""The fleets that need no network of their own."""


@pytest.mark.quiet
@pytest.mark.promise("scale:any-worker")
@pytest.mark.promise("scale:one-writer")
@pytest.mark.promise("scale:told")
async def test_rows_of_the_table_hold(tmp_path: Path) -> None:
    """With `WRITE_CHAOS=1` it writes what it measures; `CHAOS_FLEETS` names the fleets to play."""
    only = os.environ.get("CHAOS_FLEETS", ",".join(ON_THIS_MACHINE)).split(",")
    judge(await play_all([name for name in ON_THIS_MACHINE if name in only], tmp_path, None))


@pytest.mark.quiet
@pytest.mark.needs("ip")
@pytest.mark.promise("scale:told")
async def test_row_of_a_machine_that_is_cut_off_holds(tmp_path: Path) -> None:
    with namespace() as machine:
        judge(await play_all(["machine"], tmp_path, machine))


def judge(outcomes: Mapping[str, tuple[Result, list[str]]]) -> None:
    """Fail if a row differs from the table; with `WRITE_CHAOS=1`, write what was measured."""
    results = {row: result for row, (result, _) in outcomes.items()}
    print(json.dumps({row: asdict(result) for row, result in results.items()}, indent=1))
    wrong = {row: complaints for row, (_, complaints) in outcomes.items() if complaints}
    assert not wrong, json.dumps(wrong, indent=1)
    note("chaos", results)
    known = committed()
    assert {row: it.exact for row, it in results.items()} == {
        row: known[row].exact for row in results
    }
