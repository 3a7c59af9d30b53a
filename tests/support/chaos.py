"""What goes wrong between two workers and their Redis server, and what viewers notice: the rows of the chaos table.

`tests/scale/test_chaos.py` plays the rows against real processes and real servers. `support.chaos_table` has what it has
measured.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import anyio

from support.fleet import Worker
from support.network import Namespace
from support.redis_proxy import RedisProxy
from support.redis_servers import RedisServer

WORD_SECONDS = 0.05
"""The pace of the model."""

WORDS_BEFORE = 10
"""How many words each page has when things go wrong."""

LEASE_SECONDS, TIMEOUT_SECONDS = 4.0, 2.0
"""As the settings have them."""

KNOWN_SECONDS = 5.0
"""After how long each viewer has words again, a `done`, or a lost connection; plus what the model takes to get there."""

STALL_SECONDS = 6.0
"""How long the longer faults last, at least: longer than a lease."""

POLL_SECONDS = 0.05

FleetName = Literal["rescue", "no_rescue", "redis", "stalled", "machine"]


@dataclass(kw_only=True)
class Scene:
    """What a fault can reach.

    Attributes:
        here: the worker that produces.
        there: a worker with viewers of the same answer.
        server: keeps the answers.
        proxy: between workers and the server, where there is one.
        machine: the machine of the worker here, where it has one of its own.
        reasons: the readiness reasons that were seen.
        woken_at: when viewers connected here could notice something again, if not at once.
    """

    here: Worker
    there: Worker
    server: RedisServer
    proxy: RedisProxy | None = None
    machine: Namespace | None = None
    reasons: dict[str, str] = field(default_factory=dict)
    woken_at: float | None = None

    @property
    def workers(self) -> Mapping[str, Worker]:
        """The two workers, by the names that the table uses."""
        return {"here": self.here, "there": self.there}

    async def until_ready_says(self, name: str, reason: str) -> None:
        """Wait until `/readyz` of a worker gives a reason; note it."""
        while reason not in await readiness(self.workers[name]):  # noqa: ASYNC110  # nothing tells when
            await anyio.sleep(POLL_SECONDS)
        self.reasons[name] = reason

    async def until_ready(self) -> None:
        """Wait until both workers have nothing to report, but that the store was slow a moment ago."""
        for worker in (self.here, self.there):
            while {*await readiness(worker)} - {"store_slow"}:  # noqa: ASYNC110
                await anyio.sleep(POLL_SECONDS)


async def readiness(worker: Worker) -> Sequence[str]:
    """Return the reasons that `/readyz` of a worker gives."""
    reasons: list[str] = (await worker.client.get("/readyz")).json().get("reasons", [])
    return reasons


@dataclass(frozen=True, kw_only=True)
class Row:
    """One answer while something goes wrong.

    Attributes:
        id: its key in what is measured.
        words: what goes wrong.
        calls: how many calls the provider gets.
        length: how many words the answer has.
        is_repeated: whether the model answers a second call in the same words.
        outcome: how the answer ends.
        logged: log lines that have to be there, by worker; "…" stands for anything.
        says: the readiness reasons that have to be there, by worker.
    """

    id: str
    words: str
    calls: int = 1
    length: int = 60
    is_repeated: bool = True
    outcome: str = "completed"
    logged: Mapping[str, Sequence[str]] = field(default_factory=dict)
    says: Mapping[str, str] = field(default_factory=dict)

    def answer(self, call: int) -> Sequence[str]:
        """Return the words with which the model answers a call, numbered from 0."""
        letter = "w" if self.is_repeated else "abc"[call]
        return [f"{letter}{number} " for number in range(self.length)]


Fault = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True)
class Act:
    """A fault, and the answers that run meanwhile; what it has broken works again afterwards."""

    fleet: FleetName
    fault: Fault
    rows: Sequence[Row]


async def kill_here(scene: Scene) -> None:
    scene.here.kill()


async def kill_there(scene: Scene) -> None:
    scene.there.kill()


async def stall_here(scene: Scene) -> None:
    scene.here.stop()
    await anyio.sleep(STALL_SECONDS)
    scene.woken_at = anyio.current_time()
    scene.here.cont()


async def silence_here(scene: Scene) -> None:
    assert scene.proxy is not None
    scene.proxy.pause()
    await scene.until_ready_says("here", "store_silent")
    await anyio.sleep(STALL_SECONDS)
    scene.proxy.resume()
    await scene.until_ready()


async def cut_off_here(scene: Scene) -> None:
    assert scene.machine is not None
    scene.machine.cut_back()
    await scene.until_ready_says("here", "store_silent")
    await anyio.sleep(STALL_SECONDS)
    scene.machine.heal_back()
    await scene.until_ready()


async def slow_down(scene: Scene) -> None:
    assert scene.proxy is not None
    scene.proxy.delay_seconds = 0.05


async def stop_redis(scene: Scene) -> None:
    scene.server.stop()
    for name in scene.workers:
        await scene.until_ready_says(name, "store_silent")
    await anyio.sleep(3.0 - TIMEOUT_SECONDS)
    scene.server.cont()
    await scene.until_ready()


async def flush_redis(scene: Scene) -> None:
    scene.server.flush()


async def fill_redis(scene: Scene) -> None:
    scene.server.command("CONFIG", "SET", "maxmemory", 1)
    await scene.until_ready_says("here", "store_full")
    await anyio.sleep(STALL_SECONDS)
    scene.server.command("CONFIG", "SET", "maxmemory", 0)
    await scene.until_ready()


async def kill_redis(scene: Scene) -> None:
    scene.server.kill()
    for name in scene.workers:
        await scene.until_ready_says(name, "store_unreachable")
    await anyio.sleep(STALL_SECONDS)
    scene.server.restart()
    await scene.until_ready()


RESUMED = "generation.resumed"
TAKEN_OVER = "generation.taken_over"


def lost(reason: str) -> Sequence[str]:
    """Return the log lines of an outage."""
    return (f"store.lost reason={reason}", f"store.back after={reason}")


ACTS: Sequence[Act] = (
    Act(
        "rescue",
        flush_redis,
        (
            Row(
                id="redis-flushed",
                words="`FLUSHALL`",
                logged={"here": ("store.flushed generations=1",)},
            ),
        ),
    ),
    Act(
        "no_rescue",
        slow_down,
        (Row(id="redis-slow", words="each command to Redis takes 50 ms longer"),),
    ),
    Act(
        "rescue",
        kill_here,
        (
            Row(
                id="producer-killed",
                words="the producer is killed (`kill -9`)",
                calls=2,
                logged={"there": (RESUMED,)},
            ),
            Row(
                id="producer-killed-other-words",
                words="the same, and the model answers in other words",
                calls=2,
                is_repeated=False,
                logged={"there": (RESUMED,)},
            ),
        ),
    ),
    Act(
        "no_rescue",
        kill_here,
        (
            Row(
                id="producer-killed-no-rescue",
                words="the same, with `rescue = false`",
                outcome="upstream_lost",
                logged={"there": ("generation.finished … outcome=upstream_lost",)},
            ),
        ),
    ),
    Act(
        "stalled",
        stall_here,
        (
            Row(
                id="producer-stopped",
                words="the producer is stopped for 6 s (`SIGSTOP`), and wakes up",
                calls=2,
                length=160,
                logged={"here": (TAKEN_OVER,), "there": (RESUMED,)},
            ),
        ),
    ),
    Act(
        "stalled",
        silence_here,
        (
            Row(
                id="producer-silent",
                words="Redis does not answer the producer for 8 s",
                calls=2,
                length=200,
                logged={"here": (*lost("silent"), TAKEN_OVER), "there": (RESUMED,)},
                says={"here": "store_silent"},
            ),
        ),
    ),
    Act(
        "stalled",
        kill_there,
        (Row(id="follower-killed", words="a worker is killed that has only viewers"),),
    ),
    Act(
        "machine",
        cut_off_here,
        (
            Row(
                id="producer-cut-off",
                words="the producer's machine loses the network to Redis for 8 s",
                calls=2,
                length=200,
                logged={"here": (*lost("silent"), TAKEN_OVER), "there": (RESUMED,)},
                says={"here": "store_silent"},
            ),
        ),
    ),
    Act(
        "redis",
        stop_redis,
        (
            Row(
                id="redis-stopped",
                words="Redis is stopped for 3 s (`SIGSTOP`)",
                length=120,
                logged={"here": lost("silent"), "there": lost("silent")},
                says={"here": "store_silent", "there": "store_silent"},
            ),
        ),
    ),
    Act(
        "redis",
        fill_redis,
        (
            Row(
                id="redis-full",
                words="Redis is full (`maxmemory`) for 6 s",
                length=180,
                logged={"here": lost("full")},
                says={"here": "store_full"},
            ),
        ),
    ),
    Act(
        "redis",
        kill_redis,
        (
            Row(
                id="redis-killed",
                words="Redis is killed (`kill -9`), and is back after 6 s without its data",
                length=180,
                logged={"here": lost("unreachable"), "there": lost("unreachable")},
                says={"here": "store_unreachable", "there": "store_unreachable"},
            ),
        ),
    ),
)

ROWS = {row.id: row for act in ACTS for row in act.rows}
