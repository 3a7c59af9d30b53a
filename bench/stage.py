"""What scenarios work with: the upstream, running targets, and streams."""

import gc
import json
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio

from bench.load import Stream, Tally, open_stream
from bench.meter import Cores, Meter
from bench.plan import Plan
from bench.processes import Running, cpu_ns, free_port, http_health, server
from bench.sizes import Sizes
from bench.store import Store
from bench.targets import Target, get

QUIET_SECONDS = 10.0
"""How long the upstream may take to see all streams closed."""

IDLE_SECONDS = 20.0
"""How long a target may take to become idle before another process takes its place."""

IDLE_STEP_SECONDS = 0.2
IDLE_SHARE = 0.05
"""A target that used less of a core for that long is idle."""

_UPSTREAM = (sys.executable, "-m", "bench.upstream")

Metrics = Mapping[str, float | None]


@dataclass(frozen=True)
class Sample:
    """One measurement.

    Attributes:
        scenario: what was done.
        case: how much of it.
        target: to whom.
        round: in which round.
        metrics: what came out, by name, with the unit in the name.
        notes: what makes it worth less, or has to be known.
    """

    scenario: str
    case: str
    target: str
    round: int
    metrics: Metrics
    notes: list[str] = field(default_factory=list)


class Upstream:
    """The fake upstream's control path.

    Args:
        running: its process.
    """

    def __init__(self, running: Running) -> None:
        self.port = running.port
        self.pid = running.pid

    async def stats(self) -> dict[str, Any]:
        """Return its counts since the last reset."""
        stats: dict[str, Any] = await self._ask("stats")
        return stats

    async def closed(self) -> dict[int, dict[str, Any]]:
        """Return the streams that were closed by the target, by key."""
        return {one["key"]: one for one in await self._ask("closed")}

    async def reset(self) -> None:
        """Reset the counts."""
        await self._ask("reset")

    async def until_quiet(self) -> bool:
        """Wait until no stream is open; return False if that takes too long."""
        with anyio.move_on_after(QUIET_SECONDS):
            while (await self.stats())["open"]:  # noqa: ASYNC110  # another process
                await anyio.sleep(0.05)
            return True
        return False

    async def _ask(self, what: str) -> Any:
        return json.loads(await exchange(self.port, get(f"/control/{what}")))


@dataclass(eq=False)
class Guest:
    """A running target.

    Attributes:
        target: what runs.
        running: its process.
        stage: where.
        replace: ends the process and starts another one; None if there is no process of its own.
    """

    target: Target
    running: Running
    stage: "Stage"
    replace: Callable[[], Awaitable[Running]] | None = None

    async def restart(self) -> None:
        """Run in another process from now on."""
        if self.replace is not None:
            self.running = await self.replace()

    @property
    def store(self) -> Store | None:
        """The Redis server, if this target uses it."""
        return self.stage.store if self.target.uses_redis else None

    async def open(self, plan: Plan, tally: Tally, *, is_timed: bool = False) -> Stream:
        """Open one stream."""
        request = self.target.request(plan)
        return await open_stream(self.running.port, request, tally, is_timed=is_timed)

    async def open_many(
        self, plan: Plan, count: int, tally: Tally, *, over_seconds: float
    ) -> list[Stream]:
        """Open streams at random moments of the given time, so that their tokens interleave."""
        streams: list[Stream] = []
        # The same moments in each run and for each target.
        moments = sorted(random.Random(count).uniform(0, over_seconds) for _ in range(count))  # noqa: S311
        began = anyio.current_time()
        for moment in moments:
            await anyio.sleep_until(began + moment)
            streams.append(await self.open(plan, tally))
        return streams

    async def open_all(self, plan: Plan, count: int, tally: Tally) -> list[Stream]:
        """Open streams as fast as they are answered, a few at once."""
        streams: list[Stream] = []

        async def ask(share: int) -> None:
            for _ in range(share):
                stream = await self.open(plan, tally)
                streams.append(stream)
                await stream.begun

        at_once = min(count, 32)
        async with anyio.create_task_group() as tasks:
            for number in range(at_once):
                tasks.start_soon(ask, len(range(number, count, at_once)))
        return streams

    async def create(self, plan: Plan) -> str:
        """Create a generation that nobody watches yet; return its id."""
        answer = await exchange(self.running.port, self.target.request(plan, streams=False))
        generation: str = json.loads(answer)["id"]
        return generation

    async def attach(self, generation: str, tally: Tally, *, is_timed: bool = False) -> Stream:
        """Open a stream of a generation."""
        request = get(f"/v1/generations/{generation}/events")
        return await open_stream(self.running.port, request, tally, is_timed=is_timed)

    def meter(self, tally: Tally, *, beside: Sequence["Guest"] = ()) -> Meter:
        """Start measuring this target; others that run beside it are no strangers."""
        stage = self.stage
        store = () if stage.store is None else (stage.store.pid,)
        return Meter(
            self.running.pid,
            stage.upstream.pid,
            tally,
            stage.cores,
            beside=[guest.running.pid for guest in beside],
            store=store,
        )


@dataclass(frozen=True)
class Stage:
    """What all scenarios share.

    Attributes:
        upstream: the one that all targets ask.
        cores: who runs where.
        sizes: how much is measured.
        targets: those that were chosen and can run here.
        files: how many open files a process may have.
        store: the Redis server; None if the machine has none.
        stack: left at the end of the run.
        kept: the targets that run until then, by name.
        present: all targets that run now.
    """

    upstream: Upstream
    cores: Cores
    sizes: Sizes
    targets: Sequence[Target]
    files: int
    store: Store | None
    stack: AsyncExitStack
    kept: dict[str, Guest] = field(default_factory=dict)
    present: set[Guest] = field(default_factory=set)

    @asynccontextmanager
    async def guest(
        self, target: Target, environ: Mapping[str, str] | None = None, *, core: int | None = None
    ) -> AsyncIterator[Guest]:
        """Run a target on its core, or another one, while the context is held."""
        if target.name == "direct":
            yield Guest(target, Running(self.upstream.port, self.upstream.pid, 0.0), self)
            return
        async with AsyncExitStack() as process:

            async def start() -> Running:
                await process.aclose()
                port = free_port()
                return await process.enter_async_context(
                    server(
                        target.command(port, self.upstream.port),
                        port=port,
                        health=http_health(target.health),
                        core=self.cores.target if core is None else core,
                        environ={
                            **target.environ(self.upstream.port),
                            **self._log(),
                            **(environ or {}),
                        },
                    )
                )

            guest = Guest(target, await start(), self, start)
            self.present.add(guest)
            try:
                yield guest
            finally:
                self.present.discard(guest)

    @asynccontextmanager
    async def pair(
        self, target: Target, environ: Mapping[str, str], *, cores: tuple[int, int] | None = None
    ) -> AsyncIterator[tuple[Guest, Guest]]:
        """Run two workers of a target, on its core or on one each."""
        first, second = cores or (self.cores.target, self.cores.target)
        async with (
            self.guest(target, environ, core=first) as one,
            self.guest(target, environ, core=second) as two,
        ):
            yield one, two

    @asynccontextmanager
    async def guests(self, targets: Sequence[Target]) -> AsyncIterator[list[Guest]]:
        """Run targets side by side; in modes that reuse processes they stay for the next scenario."""
        async with AsyncExitStack() as own:
            guests: list[Guest] = []
            for target in targets:
                if not self.sizes.shares_targets:
                    guests.append(await own.enter_async_context(self.guest(target)))
                else:
                    if target.name not in self.kept:
                        guest = await self.stack.enter_async_context(self.guest(target))
                        self.kept[target.name] = guest
                    guests.append(self.kept[target.name])
            yield guests

    def _log(self) -> Mapping[str, str]:
        return {} if self.store is None else {"STREAMSVC_LOG__URL": self.store.url}

    async def begin_sample(self) -> None:
        """Wait until the last sample's streams have closed, and reset the counters."""
        await self.upstream.until_quiet()
        await self._until_idle()
        await self.upstream.reset()
        gc.collect()
        await anyio.sleep(0.1)

    async def _until_idle(self) -> None:
        """Wait until the targets have worked off what they were given: some go on long after their clients have left.

        They share a core with the next one, which would be measured beside them. One that takes too long is replaced.
        """
        with anyio.move_on_after(IDLE_SECONDS):
            while await self._busy():
                pass
        for guest in await self._busy():
            await guest.restart()

    async def _busy(self) -> Sequence[Guest]:
        """Return the targets that work at the moment."""
        before = {guest: cpu_ns(guest.running.pid) for guest in self.present}
        await anyio.sleep(IDLE_STEP_SECONDS)
        most_ns = IDLE_SHARE * IDLE_STEP_SECONDS * 1e9
        return [it for it, ns in before.items() if cpu_ns(it.running.pid) - ns > most_ns]


@asynccontextmanager
async def open_upstream(core: int) -> AsyncIterator[Upstream]:
    """Run the fake upstream while the context is held."""
    port = free_port()
    command = [*_UPSTREAM, str(port)]
    health = http_health("/healthz")
    async with server(command, port=port, health=health, core=core, environ={}) as running:
        yield Upstream(running)


async def exchange(port: int, request: bytes) -> bytes:
    """Send a request that ends its connection; return the body of the answer."""
    async with await anyio.connect_tcp("127.0.0.1", port) as connection:
        await connection.send(request)
        answer = b"".join([data async for data in connection])
    return answer.partition(b"\r\n\r\n")[2]


async def all_closed(streams: Sequence[Stream], *, within_seconds: float) -> None:
    """Wait for streams to end, within a bound; abort the remaining ones."""
    with anyio.move_on_after(within_seconds):
        for stream in streams:
            await stream.closed
    for stream in streams:
        stream.abort()
